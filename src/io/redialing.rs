//! Redial beside the tap: what the tap finds out goes in, steps of wishes come out in their place among its results.
//! In: `TapOutput`, moments, what phones answer. Out: steps, to a `Sink`; orders, to the voice. Knows nothing of where frames
//! come from and where results go.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::output::RedialCounts;
use super::redialer::{RedialError, RedialHandle};
use super::run::Sink;
use crate::base::{CaptureEvent, Limits, Rules, Timestamp};
use crate::config::RedialSection;
use crate::redial::{RedialOptions, RedialTold, Redialer};
use crate::tap::{Tap, TapOutput};

/// At the end phones have so long to be left in peace.
const FAREWELL: Duration = Duration::from_secs(5);

/// The list of wishes, and the voice that asks phones.
pub(super) struct Redialing {
    redialer: Redialer,
    /// `None`: nobody is asked.
    voice: Option<RedialHandle>,
    /// Steps whose place among the tap's results has not come.
    waiting: VecDeque<RedialTold>,
}

impl Redialing {
    /// Phones are asked, unless it is a dry run; says on standard error how.
    pub(super) fn live(section: RedialSection, rules: &Rules) -> Result<Self, RedialError> {
        let options = section.options.clone();
        if options.dry_run {
            eprintln!("offhook: redial is a dry run: what would be done is said, and no phone is asked");
            return Ok(Self::dry(options, rules));
        }
        let voice = RedialHandle::start(section, &Limits::default())?;
        eprintln!("offhook: redial is on: {}", voice.way());
        Ok(Self::new(options, rules, Some(voice)))
    }

    /// Nobody is asked, whatever the options say.
    pub(super) fn dry(options: RedialOptions, rules: &Rules) -> Self {
        Self::new(RedialOptions { dry_run: true, ..options }, rules, None)
    }

    fn new(options: RedialOptions, rules: &Rules, voice: Option<RedialHandle>) -> Self {
        let options = RedialOptions { domains: rules.domains.clone(), ..options };
        Self { redialer: Redialer::new(options, &Limits::default()), voice, waiting: VecDeque::new() }
    }

    /// Hands on all that the tap says, with the steps of wishes in their places; `last` is how far the capture has come. Says
    /// whether there was anything. Whoever has no wishes does not pay for this: it stays out of the way of the others.
    #[inline(never)]
    pub(super) fn pass_on(
        &mut self,
        tap: &mut Tap,
        last: Option<Timestamp>,
        sink: &mut dyn Sink,
    ) -> io::Result<bool> {
        let mut said = false;
        while let Some(output) = tap.poll_output() {
            self.before(moment_of(&output), sink)?;
            self.take(&output);
            sink.take(output)?;
            said = true;
        }
        if let Some(last) = last {
            said |= self.reach(last, sink)?;
        }
        Ok(said)
    }

    /// Something of this time is about to be said: what was before comes first. A timer comes before what it falls
    /// together with, what follows from a frame after all else that follows from it.
    fn before(&mut self, at: Timestamp, sink: &mut dyn Sink) -> io::Result<()> {
        let of_a_frame = self.waiting.back().is_some_and(|told| told.at >= at);
        self.redialer.handle_timeout(at);
        self.collect();
        while self.waiting.front().is_some_and(|told| told.at < at || !of_a_frame) {
            let Some(told) = self.waiting.pop_front() else { break };
            sink.redial(&told)?;
        }
        Ok(())
    }

    /// Takes in what the tap found out.
    fn take(&mut self, output: &TapOutput) {
        match output {
            TapOutput::Observed(attributed) => self.redialer.handle(attributed),
            TapOutput::Capture(event) => self.redialer.handle_capture(event),
            _ => return,
        }
        self.collect();
    }

    /// Takes in that a capture began, which the tap does not tell.
    pub(super) fn begin(&mut self, event: &CaptureEvent) {
        self.redialer.handle_capture(event);
        self.collect();
    }

    /// The tap has said all up to this time. Says whether there was anything to tell.
    fn reach(&mut self, at: Timestamp, sink: &mut dyn Sink) -> io::Result<bool> {
        self.decide();
        self.redialer.handle_timeout(at);
        self.collect();
        self.tell(sink)
    }

    /// Takes in what became of askings; `now` is the time of the capture. Says whether there was anything to tell.
    pub(super) fn listen(&mut self, now: Timestamp, sink: &mut dyn Sink) -> io::Result<bool> {
        let Some(voice) = &self.voice else { return Ok(false) };
        let events: Vec<_> = std::iter::from_fn(|| voice.poll_event()).collect();
        if let Some(failure) = voice.poll_failure() {
            eprintln!("offhook: redial: {failure}");
        }
        for (id, event) in events {
            self.redialer.handle_ask(now, id, event);
        }
        self.decide();
        self.tell(sink)
    }

    /// Leaves every phone in peace, and says what became of askings that were under way.
    pub(super) fn end(&mut self, now: Timestamp, sink: &mut dyn Sink) -> io::Result<bool> {
        self.redialer.stop();
        if let Some(voice) = &mut self.voice {
            voice.finish(FAREWELL);
        }
        self.listen(now, sink)
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.redialer.poll_timeout()
    }

    pub(super) fn counts(&self) -> RedialCounts {
        RedialCounts {
            counters: self.redialer.counters(),
            voice: self.voice.as_ref().map(RedialHandle::counters).unwrap_or_default(),
            dry_run: self.voice.is_none(),
        }
    }

    /// A moment is over: whoever can be asked is asked.
    fn decide(&mut self) {
        self.redialer.flush();
        self.collect();
    }

    /// Takes what the list of wishes has to say, and hands on what it orders.
    fn collect(&mut self) {
        while let Some(told) = self.redialer.poll_told() {
            self.waiting.push_back(told);
        }
        // There is no store: a list of wishes ends with its run.
        while self.redialer.poll_record().is_some() {}
        while let Some(order) = self.redialer.poll_order() {
            if let Some(voice) = &self.voice {
                voice.ask(order);
            }
        }
        while let Some(id) = self.redialer.poll_withdrawal() {
            if let Some(voice) = &self.voice {
                voice.withdraw(id);
            }
        }
    }

    fn tell(&mut self, sink: &mut dyn Sink) -> io::Result<bool> {
        let said = !self.waiting.is_empty();
        while let Some(told) = self.waiting.pop_front() {
            sink.redial(&told)?;
        }
        Ok(said)
    }
}

/// When what the tap says happened.
fn moment_of(output: &TapOutput) -> Timestamp {
    match output {
        TapOutput::Change(change) => change.at,
        TapOutput::Oddity { at, .. } => *at,
        TapOutput::Capture(event) => event.at,
        TapOutput::Message(message) => message.at,
        TapOutput::Observed(attributed) => attributed.observation.at,
        TapOutput::Nobodys(observation) => observation.at,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a phone has a socket")]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::super::capture::{Captured, MergedCapture};
    use super::super::run::{Run, Visible};
    use super::*;
    use crate::config::NextHop;
    use crate::redial::Step;
    use crate::tap::TapOptions;

    /// What is told, one behind the other: a status as `alice online/idle`, a step as `alice back`.
    #[derive(Default)]
    struct Heard(Vec<String>);

    impl Sink for Heard {
        fn take(&mut self, output: TapOutput) -> io::Result<()> {
            if let TapOutput::Change(change) = output {
                let state = &change.state;
                self.0.push(format!("{} {}/{}", change.aor, state.terminal.name(), state.session.name()));
            }
            Ok(())
        }

        fn redial(&mut self, told: &RedialTold) -> io::Result<()> {
            let word = match told.step {
                Step::Closed(outcome) => outcome.name(),
                step => step.name(),
            };
            self.0.push(format!("{} {word}", told.caller));
            Ok(())
        }

        fn idle(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Heard {
        fn place(&self, what: &str) -> usize {
            let place = self.0.iter().position(|said| said == what);
            place.unwrap_or_else(|| panic!("no {what} in {:#?}", self.0))
        }
    }

    /// The frames of the golden case, up to this many seconds.
    fn hear(run: &mut Run, heard: &mut Heard, until_s: u64) {
        let name = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/redial-when-back.pcap");
        let mut capture = MergedCapture::open(&[name.to_owned()], None).unwrap();
        let mut first = None;
        while let Some(Ok(captured)) = capture.next() {
            let Captured::Frame(frame) = captured else { continue };
            if frame.at.since(*first.get_or_insert(frame.at)) >= Duration::from_secs(until_s) {
                break;
            }
            run.frame(&frame, heard).unwrap();
        }
    }

    fn run(redial: Redialing) -> Run {
        Run::new(TapOptions::default(), Some(redial), Visible::AtOnce)
    }

    #[test]
    fn steps_stand_behind_what_brought_them_about() {
        let mut heard = Heard::default();
        let mut run = run(Redialing::dry(RedialOptions::default(), &Rules::default()));
        hear(&mut run, &mut heard, 3_600);
        let [alice, bob, carol] =
            ["alice", "bob", "carol"].map(|user| move |what: &str| format!("sip:{user}@example.com {what}"));
        for (before, after) in [
            (alice("online/idle"), alice("wished")),
            (alice("wished"), carol("wished")),
            (alice("back"), alice("asked")),
            (alice("dialled"), bob("online/talking")),
            (bob("online/talking"), alice("talked")),
        ] {
            assert!(heard.place(&before) < heard.place(&after), "{before}, {after}: {:#?}", heard.0);
        }
        assert!(run.next_due().is_some(), "Carol's wish expires");
        let redial = run.summary(Default::default()).redial.unwrap();
        assert_eq!((redial.counters.wished, redial.counters.asked, redial.dry_run), (2, 1, true));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "waits for a thread")]
    fn a_phone_is_asked_as_soon_as_the_other_is_back_and_what_it_says_is_told() {
        let proxy = UdpSocket::bind("127.0.0.1:0").unwrap();
        let section = RedialSection {
            server: NextHop::parse(&format!("sip:{};transport=udp", proxy.local_addr().unwrap())).ok(),
            local: "udp:127.0.0.1:0".parse().ok(),
            ..RedialSection::default()
        };
        let mut heard = Heard::default();
        let mut run = run(Redialing::live(section, &Rules::default()).unwrap());
        hear(&mut run, &mut heard, 22);
        heard.place("sip:alice@example.com asked");
        let mut bytes = [0; 65_535];
        proxy.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let began = Instant::now();
        // This kind of phone takes no REFER, so that it is rung; and nobody picks it up.
        while !heard.0.contains(&"sip:alice@example.com not-picked-up".to_owned()) {
            assert!(began.elapsed() < Duration::from_secs(10), "{:#?}", heard.0);
            run.reach(run.last().unwrap(), &mut heard).unwrap();
            let Ok((length, from)) = proxy.recv_from(&mut bytes) else { continue };
            let request = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let status = match request.split_once(' ') {
                Some(("REFER", rest)) if rest.starts_with("sip:alice@example.com SIP/2.0\r\n") => {
                    "403 Forbidden"
                }
                Some(("INVITE", _)) => "486 Busy Here",
                _ => continue,
            };
            let head = request.split("\r\n\r\n").next().unwrap().split_once("\r\n").unwrap().1;
            let fields: String = head
                .lines()
                .filter(|line| {
                    ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| line.starts_with(name))
                })
                .map(|line| format!("{line}{}\r\n", if line.starts_with("To:") { ";tag=a" } else { "" }))
                .collect();
            let answer = format!("SIP/2.0 {status}\r\n{fields}Content-Length: 0\r\n\r\n");
            proxy.send_to(answer.as_bytes(), from).unwrap();
        }
        assert_eq!(heard.0.iter().filter(|said| *said == "sip:alice@example.com asked").count(), 2);
        run.leave_phones(&mut heard).unwrap();
        assert!(!run.summary(Default::default()).redial.unwrap().dry_run);
    }
}
