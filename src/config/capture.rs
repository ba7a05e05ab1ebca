//! The part of the configuration that says how to capture on interfaces, and how to keep what was captured.
//! In: the table `[capture]`. Out: `CaptureSection`. Knows nothing of interfaces, files.

use serde::Deserialize;
use toml::Spanned;

use super::Place;

/// How to capture on interfaces.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureSection {
    /// Mebibytes that the kernel may hold for each interface until they are fetched.
    pub ring_mib: u32,
    /// Bytes of each frame that are captured, at most.
    pub snap_bytes: u32,
    /// Milliseconds by the wall clock in which the frames of all interfaces have come together: the order among them is
    /// right within, and timers fire so much later.
    pub merge_window_ms: u32,
    /// The share of frames lost above which a capture counts as blind; from 0 to below 1.
    pub blind_drops_share: f64,
    /// Over how many seconds that share is taken.
    pub blind_drops_window_s: u32,
    /// Mebibytes after which a recording goes on in a new file.
    pub write_mib: u32,
    /// Seconds after which it does.
    pub write_s: u32,
    /// Files of a recording that are kept, the one that is written among them.
    pub write_files: u32,
}

impl Default for CaptureSection {
    fn default() -> Self {
        Self {
            ring_mib: 32,
            snap_bytes: 65_535,
            merge_window_ms: 30,
            blind_drops_share: 0.001,
            blind_drops_window_s: 10,
            write_mib: 256,
            write_s: 86_400,
            write_files: 40,
        }
    }
}

/// `[capture]` as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureTable {
    ring_mib: Option<Spanned<u32>>,
    snap_bytes: Option<Spanned<u32>>,
    merge_window_ms: Option<Spanned<u32>>,
    blind_drops_share: Option<Spanned<f64>>,
    blind_drops_window_s: Option<Spanned<u32>>,
    write_mib: Option<Spanned<u32>>,
    write_s: Option<Spanned<u32>>,
    write_files: Option<Spanned<u32>>,
}

impl CaptureTable {
    /// What the table says.
    pub(super) fn read(self, place: &Place<'_>) -> CaptureSection {
        let mut section = CaptureSection::default();
        let mut numbers = [
            (self.ring_mib, &mut section.ring_mib, 1, 1_024, "MiB"),
            // Less than a SIP message has over Ethernet would cut them all.
            (self.snap_bytes, &mut section.snap_bytes, 512, 262_144, "bytes"),
            (self.merge_window_ms, &mut section.merge_window_ms, 5, 10_000, "ms"),
            (self.blind_drops_window_s, &mut section.blind_drops_window_s, 1, 3_600, "s"),
            (self.write_mib, &mut section.write_mib, 1, 1_048_576, "MiB"),
            (self.write_s, &mut section.write_s, 10, 31_536_000, "s"),
            (self.write_files, &mut section.write_files, 1, 100_000, "files"),
        ];
        for (said, kept, least, most, unit) in &mut numbers {
            let Some(said) = said else { continue };
            if !(*least..=*most).contains(said.as_ref()) {
                place.wrong(&said.span(), &format!("must be from {least} to {most} {unit}"));
            }
            **kept = *said.as_ref();
        }
        if let Some(share) = self.blind_drops_share {
            if !(0.0..1.0).contains(share.as_ref()) {
                place.wrong(&share.span(), "must be from 0 to less than 1");
            }
            section.blind_drops_share = *share.as_ref();
        }
        section
    }
}

impl CaptureSection {
    /// Comment and line of each key, as [`super::Config::to_toml`] shows them.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("", "[capture]".to_owned()),
            (
                "`offhook tap`: mebibytes that the kernel may hold for each interface until they are fetched, 1 to 1024.\n\
                 Default: 32.",
                format!("ring_mib = {}", self.ring_mib),
            ),
            (
                "Bytes of each frame that are captured, at most, 512 to 262144. Default: 65535.",
                format!("snap_bytes = {}", self.snap_bytes),
            ),
            (
                "Milliseconds in which the frames of several interfaces have come together, 5 to 10000: within them the\n\
                 order among interfaces is right, and so much later timers fire. Default: 30.",
                format!("merge_window_ms = {}", self.merge_window_ms),
            ),
            (
                "The share of frames lost, from 0 to less than 1, above which the capture counts as blind, and statuses\n\
                 as degraded. Default: 0.001.",
                format!("blind_drops_share = {:?}", self.blind_drops_share),
            ),
            (
                "Seconds over which that share is taken, 1 to 3600. Default: 10.",
                format!("blind_drops_window_s = {}", self.blind_drops_window_s),
            ),
            (
                "A recording (`--write`) goes on in a new file after so many mebibytes, 1 to 1048576. Default: 256.",
                format!("write_mib = {}", self.write_mib),
            ),
            (
                "And after so many seconds, 10 to 31536000. Default: 86400.",
                format!("write_s = {}", self.write_s),
            ),
            (
                "So many of its files are kept, 1 to 100000; the oldest are deleted. Default: 40.",
                format!("write_files = {}", self.write_files),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<CaptureSection, String> {
        Config::parse("offhook.toml", text).map(|config| config.capture).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read_and_shown_as_it_was_read() {
        let section = CaptureSection {
            ring_mib: 64,
            snap_bytes: 2_000,
            merge_window_ms: 100,
            blind_drops_share: 0.05,
            blind_drops_window_s: 60,
            write_mib: 10,
            write_s: 3_600,
            write_files: 3,
        };
        let text = "[capture]\nring_mib = 64\nsnap_bytes = 2000\nmerge_window_ms = 100\nblind_drops_share = 0.05\n\
                    blind_drops_window_s = 60\nwrite_mib = 10\nwrite_s = 3600\nwrite_files = 3\n";
        assert_eq!(read(text).unwrap(), section);
        let shown = Config { capture: section.clone(), ..Config::default() }.to_toml();
        assert_eq!(read(&shown).unwrap(), section, "{shown}");
        assert_eq!(read("[capture]\nblind_drops_share = 0.0").unwrap().blind_drops_share, 0.0);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_key() {
        let cases = [
            ("ring_mib = 0", "`capture.ring_mib` must be from 1 to 1024 MiB"),
            ("snap_bytes = 64", "`capture.snap_bytes` must be from 512 to 262144 bytes"),
            ("blind_drops_share = 1.0", "`capture.blind_drops_share` must be from 0 to less than 1"),
            ("blind_drops_share = nan", "`capture.blind_drops_share` must be from 0 to less than 1"),
            ("write_s = 1", "`capture.write_s` must be from 10 to 31536000 s"),
        ];
        for (line, expected) in cases {
            let said = read(&format!("[capture]\n{line}")).unwrap_err();
            assert_eq!(said, format!("offhook.toml, line 2: {expected}"));
        }
    }
}
