//! Several inputs as one, filtered and not.

use std::path::Path;

use super::*;

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Frames as (input, number, second), errors, warnings.
type Merged = (Vec<(u16, u64, u64)>, Vec<String>, Vec<String>);

/// All that comes out of these inputs.
fn merged(paths: &[String], filter: Option<&str>) -> Merged {
    let mut capture = MergedCapture::open(paths, filter).unwrap();
    let (mut frames, mut errors) = (vec![], vec![]);
    while let Some(next) = capture.next() {
        match next {
            Ok(Captured::Event(_)) => {}
            Ok(Captured::Frame(frame)) => {
                let seconds = frame.at.as_nanos() / 1_000_000_000;
                frames.push((frame.id.source(), frame.id.number(), seconds));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    let (position, size) = capture.progress();
    assert_eq!(capture.names(), paths);
    if errors.is_empty() {
        assert_eq!(Some(position), size);
    }
    (frames, errors, capture.warnings().to_vec())
}

#[test]
fn inputs_are_merged_by_time_and_keep_their_own_order() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [
        written(folder.path(), "a.pcap", &pcap_of(&[(1, b"x"), (5, b"x"), (2, b"x"), (9, b"x")])),
        written(folder.path(), "b.pcap", &gzip(&pcap_of(&[(1, b"x"), (3, b"x"), (5, b"x")]))),
    ];
    let (frames, errors, _) = merged(&paths, None);
    let expected = [(0, 1, 1), (1, 1, 1), (1, 2, 3), (0, 2, 5), (0, 3, 2), (1, 3, 5), (0, 4, 9)];
    assert_eq!((frames.as_slice(), errors), (&expected[..], vec![]));
}

#[test]
fn an_error_of_one_input_ends_that_input_only() {
    let folder = tempfile::tempdir().unwrap();
    let cut = pcap_of(&[(1, b"x"), (2, b"x")]);
    let paths = [
        written(folder.path(), "a.pcap", &cut[..cut.len() - 1]),
        written(folder.path(), "b.pcap", b""),
        written(folder.path(), "c.pcap", &pcap_of(&[(1, b"x"), (3, b"x")])),
    ];
    let (frames, errors, _) = merged(&paths, None);
    assert_eq!(frames, [(0, 1, 1), (2, 1, 1), (2, 2, 3)]);
    let expected = [
        format!("{} is empty: it ends at byte 0, before any capture header", paths[1]),
        format!("{} is truncated: it ends inside record 2, which begins at byte 41", paths[0]),
    ];
    assert_eq!(errors, expected);
}

fn ethernet_udp(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64)
        .udp(9, port)
        .write(&mut frame, b"hello")
        .unwrap();
    frame
}

#[test]
fn filters_pass_what_they_say_and_warn_of_tags() {
    let folder = tempfile::tempdir().unwrap();
    let (sip, other) = (ethernet_udp(5060), ethernet_udp(99));
    let tagged = [&sip[..12], &[0x81, 0, 0, 7], &sip[12..]].concat();
    let ethernet = pcap_of(&[(1, &sip), (2, &other), (3, &tagged), (4, &tagged), (5, &sip)]);
    let raw = [
        section(LITTLE),
        interface(LITTLE, 101, 0, &[]),
        packet(LITTLE, 0, 6_000_000, &sip[14..]),
        packet(LITTLE, 0, 7_000_000, &other[14..]),
    ]
    .concat();
    let paths = [written(folder.path(), "a.pcap", &ethernet), written(folder.path(), "b.pcapng", &raw)];
    let (frames, errors, warnings) = merged(&paths, Some("port 5060"));
    assert_eq!(frames, [(0, 1, 1), (0, 5, 5), (1, 1, 6)]);
    assert_eq!(errors, [""; 0]);
    let warning = format!(
        "{}: record 3 has a VLAN tag, which the filter \"port 5060\" does not look behind; \"vlan and (port 5060)\" would",
        paths[0]
    );
    assert_eq!(warnings, [warning]);
    let (frames, errors, warnings) = merged(&paths[..1], Some("vlan and port 5060"));
    assert_eq!(frames, [(0, 3, 3), (0, 4, 4)]);
    assert_eq!((errors, warnings), (vec![], vec![]));
}

#[test]
fn a_filter_that_does_not_compile_is_said_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path(), "a.pcap", &pcap_of(&[]));
    let error = MergedCapture::open(std::slice::from_ref(&path), Some("port or")).unwrap_err();
    let begins = format!("the filter \"port or\" cannot be used for {path}: ");
    assert!(error.to_string().starts_with(&begins), "{error}");
    assert!(error.to_string().contains("syntax error"), "{error}");
    let blocks = [section(LITTLE), interface(LITTLE, 101, 0, &[]), packet(LITTLE, 0, 1, b"x")];
    let path = written(folder.path(), "b.pcapng", &blocks.concat());
    let (frames, errors, _) = merged(&[path], Some("ether host 02:02:02:02:02:02 foo"));
    assert_eq!((frames.len(), errors.len()), (0, 1));
}
