//! What was kept is read again: frames, events, several files.

use super::*;
use crate::base::{Blindness, FrameId};
use crate::io::capture::{Captured, MergedCapture};

fn frame(source: u16, number: u64, millisecond: u64, bytes: &[u8]) -> Frame<'_> {
    Frame {
        at: at(millisecond),
        id: FrameId::new(source, number),
        link: ETHERNET,
        bytes,
        wire_length: bytes.len() + 1,
    }
}

fn at(millisecond: u64) -> Timestamp {
    Timestamp::from_nanos(1_795_327_681_000_000_000 + millisecond * 1_000_000)
}

fn event(interface: &str, millisecond: u64, what: CaptureChange) -> CaptureEvent {
    let counts = FrameCounts { received: 1_000, kernel_dropped: 7, interface_dropped: 1 };
    CaptureEvent { at: at(millisecond), interface: interface.into(), what, counts }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What a replay of these files is given, in words; without what was only counted.
fn read(paths: &[PathBuf]) -> Vec<String> {
    let paths: Vec<String> = paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect();
    let mut capture = MergedCapture::open(&paths, None).unwrap();
    let mut all = Vec::new();
    while let Some(captured) = capture.next() {
        match captured.unwrap() {
            Captured::Frame(frame) => {
                assert_eq!(frame.wire_length, frame.bytes.len() + 1);
                all.push(format!("{} frame {:?}", since_start(frame.at), frame.bytes));
            }
            Captured::Event(event) if event.what == CaptureChange::Counted => {}
            Captured::Event(event) => {
                let what = match event.what {
                    CaptureChange::Blind { why, .. } => format!("blind ({})", why.name()),
                    other => format!("{other:?}").to_lowercase(),
                };
                all.push(format!("{} {} {what}", since_start(event.at), event.interface));
            }
        }
    }
    all
}

fn since_start(time: Timestamp) -> u128 {
    time.since(at(0)).as_millis()
}

/// The files of a recording, in the order of their names; the one that was written last is the last.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

const DOWN: CaptureChange = CaptureChange::Blind { why: Blindness::Down, since: Timestamp::EPOCH };

#[test]
fn frames_and_events_come_back_in_their_order_and_a_late_frame_comes_late_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    let section = CaptureSection::default();
    let mut recording = Recording::begin(&path, &names(&["eth1", "eth2"]), Some("udp"), &section).unwrap();
    recording.event(0, &event("eth1", 0, CaptureChange::Began)).unwrap();
    recording.event(1, &event("eth2", 0, CaptureChange::Began)).unwrap();
    recording.frame(&frame(0, 1, 1, b"one"), at(0)).unwrap();
    recording.event(1, &event("eth2", 2, DOWN)).unwrap();
    recording.reached(at(2)).unwrap();
    recording.event(1, &event("eth2", 5, CaptureChange::Seeing)).unwrap();
    recording.frame(&frame(1, 1, 7, b"two"), at(9)).unwrap();
    recording.end(at(20)).unwrap();
    let expected = [
        "0 eth1 began",
        "0 eth2 began",
        "1 frame [111, 110, 101]",
        "2 eth2 blind (down)",
        "5 eth2 seeing",
        "9 eth1 reached",
        "7 frame [116, 119, 111]",
        "20 eth1 reached",
    ];
    assert_eq!(read(std::slice::from_ref(&path)), expected);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
}

#[test]
fn counters_are_told_to_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    let section = CaptureSection::default();
    let mut recording = Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap();
    let last = FrameCounts { received: 5, kernel_dropped: 3, interface_dropped: 2 };
    recording.count(&[last]);
    recording.end(at(1)).unwrap();
    let mut capture = MergedCapture::open(&[path.to_str().unwrap().to_owned()], None).unwrap();
    let mut counts = None;
    while let Some(captured) = capture.next() {
        let Captured::Event(event) = captured.unwrap() else { panic!("there are no frames") };
        counts = Some((event.interface, event.counts));
    }
    assert_eq!(counts, Some(("eth1".into(), last)));
}

#[test]
fn it_goes_on_in_new_files_of_which_the_newest_are_kept_and_each_stands_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    let section = CaptureSection { write_mib: 1, write_files: 3, ..CaptureSection::default() };
    let mut recording = Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap();
    recording.event(0, &event("eth1", 0, CaptureChange::Began)).unwrap();
    let large = vec![7; 400 << 10];
    recording.event(0, &event("eth1", 1, DOWN)).unwrap();
    for number in 1..=12 {
        recording.frame(&frame(0, number, number * 1_000, &large), at(0)).unwrap();
    }
    recording.end(at(20_000)).unwrap();
    let files = files(folder.path());
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files[0].ends_with("calls.20261122T060805Z.pcapng"), "{files:?}");
    let newest: Vec<_> = read(&files[2..]).into_iter().filter(|words| !words.contains("frame")).collect();
    assert_eq!(newest, ["10000 eth1 continues", "10000 eth1 blind (down)", "20000 eth1 reached"]);
    let frames = read(&files).iter().filter(|words| words.contains("frame")).count();
    assert_eq!(frames, 9, "three in each");
}

#[test]
fn it_goes_on_in_a_new_file_by_age_but_not_before_a_late_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls");
    let section = CaptureSection { write_s: 10, ..CaptureSection::default() };
    let mut recording = Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap();
    recording.frame(&frame(0, 1, 0, b"1"), at(0)).unwrap();
    recording.reached(at(12_000)).unwrap();
    recording.frame(&frame(0, 2, 11_000, b"2"), at(12_000)).unwrap();
    recording.frame(&frame(0, 3, 12_000, b"3"), at(12_000)).unwrap();
    recording.end(at(12_000)).unwrap();
    let mut files = files(folder.path());
    files.reverse();
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(read(&files[..1]), ["0 frame [49]", "12000 eth1 reached", "11000 frame [50]"], "{files:?}");
    assert_eq!(read(&files), ["0 frame [49]", "12000 eth1 reached", "11000 frame [50]", "12000 frame [51]"]);
}

#[test]
fn a_file_that_is_there_already_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    fs::write(&path, "precious").unwrap();
    let section = CaptureSection::default();
    drop(Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap());
    fs::write(&path, "also").unwrap();
    drop(Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap());
    let texts: Vec<_> = files(folder.path()).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(texts.contains(&"precious".to_owned()) && texts.contains(&"also".to_owned()), "{texts:?}");
    let error = Recording::begin(Path::new("/nowhere/calls.pcapng"), &names(&["eth1"]), None, &section);
    assert!(error.err().unwrap().to_string().starts_with("/nowhere/calls.pcapng cannot be written: "));
}

#[test]
fn however_often_it_begins_anew_so_many_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    let section = CaptureSection { write_files: 3, ..CaptureSection::default() };
    for run in 0..6 {
        fs::write(&path, format!("run {run}")).unwrap();
        drop(Recording::begin(&path, &names(&["eth1"]), None, &section).unwrap());
    }
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn an_empty_file_that_everybody_might_read_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.pcapng");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(Recording::begin(&path, &names(&["eth1"]), None, &CaptureSection::default()).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
}
