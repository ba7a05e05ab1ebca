//! Soft phones of the field at the testbed.
//! In: whose phone, at which address. Out: a running one, and what it is told to do. Knows nothing of offhook.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::testbed::program::Program;
use crate::testbed::{PBX, Testbed};

/// A phone that registers, and answers whoever calls if it is to.
pub struct SoftPhone {
    program: Program,
    remote: Remote,
}

/// How it is told what to do.
enum Remote {
    /// JSON in a netstring, over TCP.
    Netstrings(&'static str),
    /// Words on its standard input.
    Words,
}

/// Does it answer by itself?
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    AtOnce,
    Never,
}

impl SoftPhone {
    /// A baresip, with a remote control of its own.
    pub fn baresip(
        testbed: &Testbed,
        user: &str,
        address: &'static str,
        transport: &str,
        answers: Answers,
    ) -> Self {
        let folder = testbed.folder().join(user);
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write(
            "config",
            &format!(
                "module_path /usr/lib/baresip/modules\nsip_listen {address}:5060\naudio_player aubridge,a\n\
                 audio_source aubridge,a\nmodule aubridge.so\nmodule g711.so\nmodule_tmp account.so\n\
                 module_app menu.so\nmodule_app ctrl_tcp.so\nctrl_tcp_listen {address}:4444\n"
            ),
        );
        write("contacts", "");
        let mode = if answers == Answers::AtOnce { "auto" } else { "manual" };
        write(
            "accounts",
            &format!(
                "<sip:{user}@example.com;transport={transport}>;auth_pass=secret;answermode={mode};regint=60;\
                 outbound=\"sip:{PBX};transport={transport}\"\n"
            ),
        );
        let mut command = testbed.command("phones", "baresip");
        command.arg("-f").arg(&folder).arg("-v");
        Self { program: Program::start(user, &mut command), remote: Remote::Netstrings(address) }
    }

    /// A linphonec, which answers by itself. It has the host's own address, and sound from files.
    pub fn linphonec(testbed: &Testbed, user: &str) -> Self {
        // Without a default route it takes the network for down.
        let mut route = testbed.command("phones", "ip");
        assert!(route.args(["route", "replace", "default", "dev", "eth0"]).status().unwrap().success());
        let folder = testbed.folder().join(user);
        fs::create_dir_all(folder.join(".local/share/linphone")).unwrap();
        let config = folder.join("linphonerc");
        let text = format!(
            "[sip]\ndefault_proxy=0\nsip_port=5082\nsip_tcp_port=0\nsip_tls_port=0\n[proxy_0]\n\
             reg_proxy=<sip:{PBX};transport=udp>\nreg_identity=sip:{user}@example.com\nreg_expires=60\n\
             reg_route=<sip:{PBX};transport=udp;lr>\nreg_sendregister=1\npublish=0\n[auth_info_0]\nusername={user}\npasswd=secret\nrealm=example.com\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = testbed.command("phones", "linphonec");
        command.env("HOME", &folder).arg("-a").arg("-c").arg(config).args(["-d", "0"]).stderr(Stdio::null());
        let mut program = Program::told(user, &mut command);
        program.say("soundcard use files");
        Self { program, remote: Remote::Words }
    }

    /// Tells it to call.
    pub fn dial(&mut self, testbed: &Testbed, whom: &str) {
        let Remote::Netstrings(address) = self.remote else {
            return self.program.say(&format!("call {whom}"));
        };
        let command = format!("{{\"command\":\"dial\",\"params\":\"{whom}\"}}");
        testbed.at("phones", move || {
            let mut control = TcpStream::connect((address, 4444)).unwrap();
            write!(control, "{}:{command},", command.len()).unwrap();
            // It answers when it has begun.
            assert_ne!(control.read(&mut [0; 1_024]).unwrap(), 0);
        });
    }

    /// Ends it in order: it hangs up and unregisters. What it said.
    pub fn finish(self) -> Vec<String> {
        match self.remote {
            Remote::Words => self.program.leave("quit"),
            Remote::Netstrings(_) => self.program.finish(),
        }
    }
}
