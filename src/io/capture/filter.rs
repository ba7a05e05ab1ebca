//! Filter expressions, as tcpdump takes them.
//! In: an expression, frames. Out: whether they match. Knows nothing of files.

use pcap::{BpfProgram, Capture, Linktype};

use crate::base::LinkType;

/// What libpcap calls raw IP on this machine, whatever number the file had.
const DLT_RAW: i32 = 12;

/// An expression and its programs, one for each link type that was met.
pub(super) struct Filter {
    expression: String,
    programs: Vec<(LinkType, BpfProgram)>,
}

impl Filter {
    pub fn new(expression: &str) -> Self {
        Self { expression: expression.to_owned(), programs: Vec::new() }
    }

    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether the frame passes.
    ///
    /// # Errors
    /// The expression does not compile for this link type; libpcap's reason is returned.
    pub fn matches(&mut self, link: LinkType, bytes: &[u8]) -> Result<bool, String> {
        self.prepare(link)?;
        let program = self.programs.iter().find(|(of, _)| *of == link);
        Ok(program.is_some_and(|(_, program)| program.filter(bytes)))
    }

    /// Compiles the expression for a link type.
    pub fn prepare(&mut self, link: LinkType) -> Result<(), String> {
        if self.programs.iter().any(|(of, _)| *of == link) {
            return Ok(());
        }
        let number = match link.0 {
            12 | 14 | 101 => DLT_RAW,
            number => i32::from(number),
        };
        let program = Capture::dead(Linktype(number))
            .and_then(|handle| handle.compile(&self.expression, true))
            .map_err(|error| match error {
                pcap::Error::PcapError(reason) => reason,
                other => other.to_string(),
            })?;
        self.programs.push((link, program));
        Ok(())
    }
}

/// Whether the expression says anything of VLAN tags. One that does not looks for IP right behind the MAC addresses only.
pub(in crate::io) fn knows_tags(expression: &str) -> bool {
    expression.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "vlan")
}

/// Whether a VLAN tag follows the link header.
pub(in crate::io) fn is_tagged(link: LinkType, bytes: &[u8]) -> bool {
    let ether_type_at = match link.0 {
        1 => 12,
        113 => 14,
        276 => 0,
        _ => return false,
    };
    matches!(bytes.get(ether_type_at..ether_type_at + 2), Some([0x81, 0x00] | [0x88, 0xa8] | [0x91, 0x00]))
}
