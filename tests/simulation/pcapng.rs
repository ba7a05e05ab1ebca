//! What the mirror showed, as a file that Wireshark opens.
//! In: frames, remarks. Out: the bytes of a pcapng file. Knows nothing of SIP.
//! draft-ietf-opsawg-pcapng: section header, interface description, enhanced packets with comments, statistics.

use super::mirror::Shown;
use crate::support::ladder::START_US;

const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const RECEIVED: u16 = 4;
const DROPPED: u16 = 5;

/// The file. `remarks` are of a moment each, in order, and stand at the first frame at or after it.
pub fn file(about: &str, shown: &[Shown], hidden: u64, remarks: &[(u64, String)]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4d_u32.to_le_bytes());
    section.extend([1, 0, 0, 0]); // version 1.0
    section.extend((-1_i64).to_le_bytes()); // the section's length is not said
    option(&mut section, COMMENT, about.as_bytes());
    option(&mut section, USER_APPLICATION, b"offhook simulation");
    end_of_options(&mut section);
    block(&mut file, 0x0a0d_0d0a, &section);

    let mut interface = Vec::new();
    interface.extend([1, 0, 0, 0]); // LINKTYPE_ETHERNET; times are in microseconds where nothing else is said
    interface.extend(262_144_u32.to_le_bytes());
    option(&mut interface, INTERFACE_NAME, b"mirror");
    end_of_options(&mut interface);
    block(&mut file, 1, &interface);

    let mut next_remark = 0;
    for frame in shown {
        let mut packet = Vec::new();
        packet.extend(0_u32.to_le_bytes());
        time(&mut packet, frame.at_us);
        let length = frame.bytes.len() as u32;
        packet.extend(length.to_le_bytes());
        packet.extend(length.to_le_bytes());
        padded(&mut packet, &frame.bytes);
        let mut remarked = false;
        while let Some((_, remark)) = remarks.get(next_remark).filter(|(at_us, _)| *at_us <= frame.at_us) {
            option(&mut packet, COMMENT, remark.as_bytes());
            remarked = true;
            next_remark += 1;
        }
        if remarked {
            end_of_options(&mut packet);
        }
        block(&mut file, 6, &packet);
    }

    let mut statistics = Vec::new();
    statistics.extend(0_u32.to_le_bytes());
    time(&mut statistics, shown.last().map_or(0, |frame| frame.at_us));
    option(&mut statistics, RECEIVED, &(shown.len() as u64 + hidden).to_le_bytes());
    option(&mut statistics, DROPPED, &hidden.to_le_bytes());
    end_of_options(&mut statistics);
    block(&mut file, 5, &statistics);
    file
}

fn time(block: &mut Vec<u8>, at_us: u64) {
    let at_us = START_US + at_us;
    block.extend(((at_us >> 32) as u32).to_le_bytes());
    block.extend((at_us as u32).to_le_bytes());
}

fn padded(block: &mut Vec<u8>, bytes: &[u8]) {
    block.extend(bytes);
    block.resize(block.len().next_multiple_of(4), 0);
}

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    block.extend(code.to_le_bytes());
    block.extend((value.len() as u16).to_le_bytes());
    padded(block, value);
}

fn end_of_options(block: &mut Vec<u8>) {
    block.extend(0_u32.to_le_bytes());
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = body.len() as u32 + 12;
    file.extend(kind.to_le_bytes());
    file.extend(length.to_le_bytes());
    file.extend(body);
    file.extend(length.to_le_bytes());
}
