//! Redial with phones of the field, in a network of namespaces: a Kamailio that knows nothing of it, soft phones and SIPp as
//! callers, offhook on the mirror port and at an address of its own. In: `scripts/testbed`. Out: pass, or what was told of the
//! wish. Needs root and the packages that scripts/test installs; says so when there are no namespaces to be had.
//! Knows nothing of offhook's inside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test's helpers are tests, and they wait for real programs"
)]

#[path = "support/testbed/soft_phone.rs"]
mod soft_phone;
#[path = "support/testbed/mod.rs"]
mod testbed;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use soft_phone::{Answers, SoftPhone};
use testbed::program::Program;
use testbed::{PBX, TAP, Testbed};

/// Where the phones are.
const ALICE: &str = "198.19.0.1";
const BOB: &str = "198.19.0.2";
const CAROL: &str = "198.19.0.3";
/// What the PBX says when offhook rings Alice's phone through it.
const RECALLED: &str = "answered offhook alice";

/// offhook on the mirror port, with redial on and these keys beside it. It asks in the name of a user of the PBX's.
fn redial(testbed: &Testbed, keys: &str) -> Program {
    redial_as(testbed, "sip:offhook@example.com", "secret", keys)
}

/// The same, with this address and password.
fn redial_as(testbed: &Testbed, from: &str, password: &str, keys: &str) -> Program {
    let config = testbed.folder().join("redial.toml");
    let text = format!(
        "domains = [\"example.com\"]\n[redial]\nenabled = true\nserver = \"sip:{PBX};transport=udp\"\n\
         local = \"udp:{TAP}:5070\"\nfrom = \"{from}\"\nuser = \"offhook\"\npassword = \"{password}\"\n{keys}"
    );
    fs::write(&config, text).unwrap();
    let mut command = testbed.command("tap", env!("CARGO_BIN_EXE_offhook"));
    command.args(["tap", "-i", "span0", "--format", "jsonl", "--config"]).arg(config);
    Program::listening("redial", command.env_remove("OFFHOOK_CONFIG"))
}

/// What was told of wishes: `asked recall`, `accepted 202`, `closed talked`.
fn steps(lines: &[String]) -> Vec<String> {
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["kind"] == "redial")
        .map(|line| {
            let word = ["outcome", "why", "by", "for", "way"].iter().find_map(|key| line[key].as_str());
            let status = line["status"].as_u64().map(|status| format!(" {status}")).unwrap_or_default();
            let step = line["step"].as_str().unwrap();
            format!("{step}{}{status}", word.map(|word| format!(" {word}")).unwrap_or_default())
        })
        .collect()
}

/// Bob's phone registers, and leaves again.
fn bob_leaves(testbed: &Testbed) {
    let bob = SoftPhone::baresip(testbed, "bob", BOB, "udp", Answers::AtOnce);
    testbed.wait_for_log("pbx", "registered bob ");
    bob.finish();
    testbed.wait_for_log("pbx", "unregistered bob ");
}

/// Alice calls Bob, who is away, and he comes back: what was told of her wish, until it was over.
fn wish_of(testbed: &Testbed, alice: &mut SoftPhone, listens: &mut Program) -> SoftPhone {
    testbed.wait_for_log("pbx", "registered alice ");
    bob_leaves(testbed);
    alice.dial(testbed, "sip:bob@example.com");
    listens.wait_for("that Alice wishes", |line| line.contains("\"step\":\"wished\""));
    let bob = SoftPhone::baresip(testbed, "bob", BOB, "udp", Answers::AtOnce);
    listens.wait_for("that the wish is over", |line| line.contains("\"step\":\"closed\""));
    bob
}

/// baresip refuses REFER outside a dialog. So it is rung, picks up, gets the REFER inside, and calls.
#[test]
fn baresip_is_recalled_and_calls() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let mut listens = redial(&testbed, "");
    let mut alice = SoftPhone::baresip(&testbed, "alice", ALICE, "udp", Answers::AtOnce);
    let bob = wish_of(&testbed, &mut alice, &mut listens);
    let told = steps(&listens.finish());
    let expected =
        ["wished refused 480", "back registered", "asked refer", "asked recall", "ringing", "picked-up"];
    assert_eq!(told[..6], expected, "{told:#?}");
    assert!(told.contains(&"accepted 202".to_owned()), "{told:#?}");
    assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
    assert!(testbed.log("pbx").contains(RECALLED), "it did not go by the PBX:\n{}", testbed.log("pbx"));
    alice.finish();
    bob.finish();
}

/// So does linphonec.
#[test]
fn linphonec_is_recalled_and_calls() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let mut listens = redial(&testbed, "");
    let mut alice = SoftPhone::linphonec(&testbed, "alice");
    let bob = wish_of(&testbed, &mut alice, &mut listens);
    let told = steps(&listens.finish());
    assert_eq!(told[2..6], ["asked refer", "asked recall", "ringing", "picked-up"], "{told:#?}");
    assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
    alice.finish();
    bob.finish();
}

/// Without the PBX in between. linphone's Contact names no address; where its REGISTER came from does.
#[test]
fn soft_phones_are_recalled_directly_and_call() {
    let phones: [fn(&Testbed) -> SoftPhone; 2] = [
        |testbed| SoftPhone::baresip(testbed, "alice", ALICE, "udp", Answers::AtOnce),
        |testbed| SoftPhone::linphonec(testbed, "alice"),
    ];
    for phone in phones {
        let Some(testbed) = Testbed::up(&[]) else { return };
        let mut listens = redial(&testbed, "route = \"direct\"\n");
        let mut alice = phone(&testbed);
        let bob = wish_of(&testbed, &mut alice, &mut listens);
        let told = steps(&listens.finish());
        assert_eq!(told[2..6], ["asked refer", "asked recall", "ringing", "picked-up"], "{told:#?}");
        assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
        assert!(!testbed.log("pbx").contains(RECALLED), "it went by the PBX:\n{}", testbed.log("pbx"));
        alice.finish();
        bob.finish();
    }
}

/// Once a phone of a kind has refused REFER, phones of that kind are rung at once.
#[test]
fn a_kind_of_phone_that_refused_once_is_recalled_at_once() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let mut listens = redial(&testbed, "spacing_s = 0\nafter_busy_s = 0\n");
    let mut alice = SoftPhone::baresip(&testbed, "alice", ALICE, "udp", Answers::AtOnce);
    let bob = wish_of(&testbed, &mut alice, &mut listens);
    bob.finish();
    testbed.wait_for_log("pbx", "unregistered bob ");
    let mut carol = SoftPhone::baresip(&testbed, "carol", CAROL, "udp", Answers::AtOnce);
    testbed.wait_for_log("pbx", "registered carol ");
    carol.dial(&testbed, "sip:bob@example.com");
    listens.wait_for("that Carol wishes", |line| line.contains("\"step\":\"wished\""));
    let bob = SoftPhone::baresip(&testbed, "bob", BOB, "udp", Answers::AtOnce);
    listens.wait_for("that the wish is over", |line| line.contains("\"step\":\"closed\""));
    let lines = listens.finish();
    let hers: Vec<_> = lines.into_iter().filter(|line| line.contains("\"wish\":2,")).collect();
    let told = steps(&hers);
    assert_eq!(told[2..5], ["asked recall", "ringing", "picked-up"], "{told:#?}");
    assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
    for phone in [alice, bob, carol] {
        phone.finish();
    }
}

/// Nobody picks up: the phone rings no longer than it may, and is left in peace.
#[test]
fn a_phone_that_nobody_picks_up_stops_ringing() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let mut listens = redial(&testbed, "way = \"recall\"\nring_s = 5\n");
    let mut alice = SoftPhone::baresip(&testbed, "alice", ALICE, "udp", Answers::Never);
    let bob = wish_of(&testbed, &mut alice, &mut listens);
    let lines = listens.finish();
    let told = steps(&lines);
    assert_eq!(told[2..], ["asked recall", "ringing", "closed not-picked-up"], "{told:#?}");
    let stopped = lines.iter().any(|line| {
        line.contains("\"presentity\":\"sip:alice@example.com\"")
            && line.contains("\"session\":\"idle\"")
            && line.contains("\"rule\":\"cancel\"")
    });
    assert!(stopped, "the tap sees that it stops: {lines:#?}");
    alice.finish();
    bob.finish();
}

/// A way that the phone does not take, and no other is wanted.
#[test]
fn a_phone_that_refuses_is_left_alone() {
    let Some(testbed) = Testbed::up(&[]) else { return };
    let mut listens = redial(&testbed, "way = \"refer\"\n");
    let mut alice = SoftPhone::baresip(&testbed, "alice", ALICE, "udp", Answers::AtOnce);
    let bob = wish_of(&testbed, &mut alice, &mut listens);
    let told = steps(&listens.finish());
    assert_eq!(told[2..], ["asked refer", "closed refused 501"], "{told:#?}");
    alice.finish();
    bob.finish();
}

/// A run of SIPp at the phones: a scenario, at an address, with one line of fields.
fn sipp(testbed: &Testbed, scenario: &str, address: &str, fields: &str) -> Command {
    let folder = testbed.folder();
    let lines = folder.join(format!("{scenario}.csv"));
    fs::write(&lines, format!("SEQUENTIAL\n{fields}\n")).unwrap();
    let file = format!("{}/tests/testbed/{scenario}.xml", env!("CARGO_MANIFEST_DIR"));
    let mut command = testbed.command("phones", "sipp");
    command.arg(format!("{PBX}:5060")).args(["-sf", &file, "-i", address, "-p", "5060", "-nostdin"]);
    command
        .args(["-m", "1", "-timeout", "40", "-deadcall_wait", "0", "-trace_err", "-inf"])
        .arg(lines)
        .current_dir(folder);
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} fails:\n{said}");
}

/// SIPp plays the caller: it takes the REFER as this scenario says, and calls.
fn sipp_is_referred(scenario: &str, keys: &str) -> Option<Vec<String>> {
    const AUTHENTICATION: &str = "[authentication username=alice password=secret]";
    let testbed = Testbed::up(&[])?;
    let mut listens = redial(&testbed, keys);
    run(sipp(&testbed, "register", ALICE, &format!("{ALICE};alice;60;{AUTHENTICATION}")));
    bob_leaves(&testbed);
    run(sipp(&testbed, "in-vain", ALICE, &format!("{ALICE};alice;bob;{AUTHENTICATION}")));
    listens.wait_for("that Alice wishes", |line| line.contains("\"step\":\"wished\""));
    let mut alice = sipp(&testbed, scenario, ALICE, &format!("{ALICE};alice;bob;{AUTHENTICATION}"));
    let mut alice = alice.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let bob = SoftPhone::baresip(&testbed, "bob", BOB, "udp", Answers::AtOnce);
    listens.wait_for("that the wish is over", |line| line.contains("\"step\":\"closed\""));
    let errors = || {
        let files = fs::read_dir(testbed.folder()).unwrap().flatten();
        let errors = files.filter(|file| file.file_name().to_string_lossy().ends_with("errors.log"));
        errors.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect::<String>()
    };
    assert!(alice.wait().unwrap().success(), "SIPp saw something else:\n{}", errors());
    let told = steps(&listens.finish());
    bob.finish();
    Some(told)
}

/// A phone that takes REFER: NOTIFYs are answered, and its own call really happens.
#[test]
fn sipp_is_referred_and_calls() {
    let Some(told) = sipp_is_referred("refer", "") else { return };
    assert_eq!(told[..3], ["wished refused 480", "back registered", "asked refer"], "{told:#?}");
    // What the phone says and what the mirror shows come by two ways.
    for step in ["accepted 202", "progress 100", "dialled"] {
        assert!(told[3..].contains(&step.to_owned()), "{told:#?}");
    }
    assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
}

/// The phone asks who that is, after the PBX has.
#[test]
fn a_phone_that_challenges_refer_is_answered() {
    let Some(told) = sipp_is_referred("refer-challenged", "way = \"refer\"\n") else { return };
    assert_eq!(told[2], "asked refer", "{told:#?}");
    assert!(told[3..].contains(&"accepted 202".to_owned()), "{told:#?}");
    assert_eq!(told.last().unwrap(), "closed talked", "{told:#?}");
}

/// Whom the PBX does not believe, it lets ask nobody. Only the password is another than in the tests above.
#[test]
fn a_pbx_that_wants_other_credentials_refuses() {
    for way in ["refer", "recall"] {
        let Some(testbed) = Testbed::up(&[]) else { return };
        let keys = format!("way = \"{way}\"\n");
        let mut listens = redial_as(&testbed, "sip:offhook@example.com", "wrong", &keys);
        let mut alice = SoftPhone::baresip(&testbed, "alice", ALICE, "udp", Answers::AtOnce);
        let bob = wish_of(&testbed, &mut alice, &mut listens);
        let told = steps(&listens.finish());
        assert_eq!(told[2..], [format!("asked {way}"), "closed refused 407".to_owned()], "{told:#?}");
        alice.finish();
        bob.finish();
    }
}

/// Without the PBX in between; over as soon as the phone has said that it will call, and no NOTIFY is sent.
#[test]
fn a_phone_is_referred_directly_until_it_accepts() {
    let keys = "route = \"direct\"\nuntil = \"refer\"\n";
    let Some(told) = sipp_is_referred("refer-without-notify", keys) else { return };
    let expected = ["wished refused 480", "back registered", "asked refer", "accepted 202", "closed asked"];
    assert_eq!(told, expected);
}

/// A phone that is switched off without a word: nothing answers at its address, though the PBX knows it still. When that
/// has waited long enough, it says so (408), whichever way was tried.
#[test]
fn a_phone_that_is_silent_is_told_of_as_such() {
    const AUTHENTICATION: &str = "[authentication username=alice password=secret]";
    for (keys, expected) in [
        ("way = \"refer\"\n", &["asked refer", "closed silent"][..]),
        ("", &["asked refer", "asked recall", "closed silent"]),
    ] {
        let Some(testbed) = Testbed::up(&[]) else { return };
        let mut listens = redial(&testbed, keys);
        run(sipp(&testbed, "register", ALICE, &format!("{ALICE};alice;60;{AUTHENTICATION}")));
        bob_leaves(&testbed);
        run(sipp(&testbed, "in-vain", ALICE, &format!("{ALICE};alice;bob;{AUTHENTICATION}")));
        listens.wait_for("that Alice wishes", |line| line.contains("\"step\":\"wished\""));
        let bob = SoftPhone::baresip(&testbed, "bob", BOB, "udp", Answers::AtOnce);
        listens.wait_for("that the wish is over", |line| line.contains("\"step\":\"closed\""));
        let told = steps(&listens.finish());
        assert_eq!(told[2..], *expected, "{told:#?}");
        bob.finish();
    }
}
