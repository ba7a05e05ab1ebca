//! Session descriptions: media, direction, codec, rate.
#![allow(missing_docs)]

use offhook::sip::{Direction, Sdp};

/// Each section in one line.
fn told(text: &str) -> Option<Vec<String>> {
    let sdp = Sdp::parse(text.as_bytes())?;
    Some(
        sdp.media
            .iter()
            .map(|media| {
                format!(
                    "{} {} {:?}{} {} {} {}",
                    media.kind,
                    media.port,
                    media.direction,
                    if media.connection_is_zero { " zero" } else { "" },
                    media.codec.as_deref().unwrap_or("-"),
                    media.clock_rate_hz.map_or("-".to_owned(), |rate| rate.to_string()),
                    media.bit_rate.map_or("-".to_owned(), |rate| rate.to_string()),
                )
            })
            .collect(),
    )
}

const HEAD: &str = "v=0\r\no=alice 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

#[test]
fn sections() {
    let rows = [
        ("", vec![]),
        ("m=audio 49170 RTP/AVP 0 8\r\n", vec!["audio 49170 SendRecv PCMU 8000 64000"]),
        ("m=audio 0 RTP/AVP 18\r\n", vec!["audio 0 SendRecv G729 8000 8000"]),
        (
            "a=inactive\r\nm=audio 5 RTP/AVP 9\r\nm=Video 6/2 RTP/AVP 31\r\na=sendonly\r\n",
            vec!["audio 5 Inactive G722 8000 64000", "video 6 SendOnly H261 90000 -"],
        ),
        (
            "m=audio 5 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\nm=audio 7 RTP/AVP 8\r\n",
            vec!["audio 5 SendRecv zero PCMA 8000 64000", "audio 7 SendRecv PCMA 8000 64000"],
        ),
        (
            "m=audio 5 RTP/AVP 8\r\nc=IN IP6 ::\r\na=recvonly\r\n",
            vec!["audio 5 RecvOnly zero PCMA 8000 64000"],
        ),
        (
            "m=audio 5 RTP/SAVPF 101 13 96\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:96 opus/48000/2\r\nb=AS:64\r\n",
            vec!["audio 5 SendRecv opus 48000 64000"],
        ),
        (
            "m=audio 5 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\nb=AS:64\r\nb=TIAS:24000\r\n",
            vec!["audio 5 SendRecv opus 48000 24000"],
        ),
        (
            "m=audio 5 RTP/AVP 0\r\na=rtpmap:0 pcmu/8000\r\nb=AS:80\r\n",
            vec!["audio 5 SendRecv pcmu 8000 64000"],
        ),
        ("m=audio 5 RTP/AVP 97 99\r\n", vec!["audio 5 SendRecv - - -"]),
        ("m=message 9 TCP/MSRP *\r\n", vec!["message 9 SendRecv - - -"]),
        ("m=image 5 udptl t38\r\nb=AS:99999999999\r\n", vec!["image 5 SendRecv - - 4294967295"]),
    ];
    for (text, expected) in rows {
        let expected = Some(expected.into_iter().map(str::to_owned).collect());
        assert_eq!(told(&format!("{HEAD}{text}")), expected, "{text:?}");
        assert_eq!(told(&format!("{HEAD}{text}").replace('\r', "")), expected, "{text:?}");
    }
}

#[test]
fn hold_as_rfc_2543_had_it_for_the_whole_session() {
    let sdp = HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0");
    assert_eq!(
        told(&format!("{sdp}m=audio 5 RTP/AVP 0\r\n")),
        Some(vec!["audio 5 SendRecv zero PCMU 8000 64000".to_owned()])
    );
    assert_eq!(Direction::default(), Direction::SendRecv);
}

#[test]
fn what_is_none() {
    for text in [
        "",
        "hello",
        "v=1\r\n",
        "s=-\r\nv=0\r\n",
        "v=0\r\nm=audio\r\n",
        "v=0\r\nm=audio x RTP/AVP 0\r\n",
        "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
    ] {
        assert_eq!(told(text), None, "{text:?}");
    }
}

#[test]
fn bounded() {
    let many = format!("{HEAD}{}", "m=audio 5 RTP/AVP 0\r\n".repeat(100));
    assert_eq!(Sdp::parse(many.as_bytes()).map(|sdp| sdp.media.len()), Some(16));
}
