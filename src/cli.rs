//! The command line.
//! In: arguments. Out: results on standard output, everything else on standard error, an exit code. Knows nothing of SIP.
//! Exit codes: 0 done; 1 could not do it (an input, the configuration, the presence server); 2 wrong usage.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::base::Listen;
use crate::config::{Config, NOT_A_DOMAIN, NextHop, RedialSection, WebhookSection, managed_domain};
use crate::io::config_file::read_config as read_config_file;
use crate::io::http;
use crate::io::live::{self, LiveOptions};
use crate::io::presence_server;
use crate::io::replay::{self, ExplainOptions, ReplayOptions, Speed};
use crate::io::results::{self, Ended, Format, Publishing};
use crate::io::watch::{self, WatchCommand, Watching};
use crate::io::way::Target;
use crate::presence::EventPackage;
use crate::sip::Aor;

/// Where the configuration is, when `--config` does not say.
const CONFIG_VARIABLE: &str = "OFFHOOK_CONFIG";

/// Hears SIP and works out who is online, ringing, talking or gone.
#[derive(Parser)]
#[command(
    name = "offhook",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done; 1 could not do it (an input, the configuration, the presence server); 2 wrong usage.
Results go to standard output, everything else to standard error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The configuration file; the environment variable OFFHOOK_CONFIG says it too. Flags win over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Read captures and say who is online, ringing, talking or gone, and when.
    #[command(after_help = "\
Examples:
  offhook replay office.pcap
  offhook replay --format jsonl monday.pcapng.gz tuesday.pcapng.gz | jq 'select(.kind == \"status\")'
  ssh gw tcpdump -i any -U -w - port 5060 | offhook replay -
  offhook replay --publish sip:presence.example.com --watch --speed 1 office.pcap")]
    Replay(Replay),
    /// Listen on a mirror port and say who is online, ringing, talking or gone, as it happens, until Ctrl-C.
    #[command(after_help = "\
Examples:
  offhook tap -i eth1
  offhook tap -i eth1 -i eth2 --format jsonl | jq 'select(.kind == \"status\")'
  offhook tap -i eth1 --write calls.pcapng --domain example.com 'port 5060'
  offhook tap -i eth1 --publish embedded --listen udp:192.0.2.20:5060

It takes root, or the right to capture once: setcap cap_net_raw+ep /usr/local/bin/offhook")]
    Tap(TapArguments),
    /// Say why somebody has the status that they have: the frames and rules behind it.
    #[command(after_help = "Example:\n  offhook explain alice@example.com office.pcap")]
    Explain(Explain),
    /// Watch somebody at a presence server and print what it tells, until Ctrl-C.
    #[command(after_help = "\
Examples:
  offhook watch alice@example.com bob@example.com --server sip:presence.example.com
  offhook watch bob@example.com --server sip:192.0.2.20:5070 --events dialog --format jsonl --for 60")]
    Watch(Watch),
    /// Serve presence: take what taps and phones publish, and tell whoever subscribes.
    #[command(after_help = "\
Examples:
  offhook presence --listen udp:192.0.2.20:5060 --listen tcp:192.0.2.20:5060
  offhook replay --publish sip:192.0.2.20 --speed 1 office.pcap
  offhook watch --server sip:192.0.2.20 alice@example.com")]
    Presence(Listens),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Args)]
struct Domains {
    /// A domain whose users are watched: a name, an alias, an IP address, or `any`. May be repeated.
    /// Without it, the ends of every domain are shown, as weak until a registration supports them.
    #[arg(long = "domain", value_name = "D", value_parser = domain)]
    domains: Vec<String>,
}

#[derive(Args)]
struct Input {
    /// Captures: pcap or pcapng, also compressed with gzip or zstd; several are merged by time. `-` is
    /// standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    domains: Domains,
    /// Read only the packets that pass this filter, in the language of tcpdump.
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,
}

#[derive(Args)]
struct Replay {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    outlets: Outlets,
    #[command(flatten)]
    redial: RedialFlag,
    /// How fast time passes: `max` without waiting, 1 as it did, 10 ten times as fast.
    #[arg(long, value_name = "max|N", default_value = "max", value_parser = speed)]
    speed: Speed,
    /// No progress bar.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args)]
struct TapArguments {
    /// An interface to listen on, such as one that a switch's mirror port is plugged into; it needs no address. May be
    /// repeated. Without it, all that are up and have a link, but for the loopback.
    #[arg(short, long = "interface", value_name = "IFACE")]
    interfaces: Vec<String>,
    #[command(flatten)]
    domains: Domains,
    #[command(flatten)]
    outlets: Outlets,
    /// Call back who called in vain, when the other is there again: offhook then asks phones to call, see [redial] in the
    /// configuration, which can switch it on as well (`redial.enabled`).
    #[arg(long)]
    redial: bool,
    /// Only say which phone would be asked, and ask none.
    #[arg(long)]
    dry_run: bool,
    /// Keep what is heard in this file, as pcapng: a replay of it gives the same statuses. It goes on in a new file by
    /// size and age, see [capture] in the configuration. Media is not kept, unless a filter lets it in.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Listen only to the packets that pass this filter, in the language of tcpdump. Without it, SIP is found by its
    /// content, on any port.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

#[derive(Args)]
struct RedialFlag {
    /// Say too who would be called back, when the other is there again, as `redial.enabled` in the configuration does. No
    /// phone is asked.
    #[arg(long)]
    redial: bool,
}

/// How results are told, and to whom.
#[derive(Args)]
struct Outlets {
    /// How results are written.
    #[arg(long, value_enum, default_value_t = FormatWord::Text)]
    format: FormatWord,
    /// Tell this presence server by SIP PUBLISH: `sip:host[:port][;transport=udp|tcp|tls]` or `sips:host`,
    /// `config` for those that the configuration names, or `embedded` for one in this process. Without it,
    /// nothing is sent to anybody.
    #[arg(long, value_name = "SIP-URI", value_parser = publish_to)]
    publish: Option<PublishTo>,
    #[command(flatten)]
    listens: Listens,
    /// Send lines to the endpoints that the configuration names in its [[webhook]] tables. Without it, nothing is
    /// sent to them.
    #[arg(long)]
    webhooks: bool,
    /// Watch at the presence server what is published, and show what a watcher is told beside the ladder.
    #[arg(long, requires = "publish")]
    watch: bool,
}

#[derive(Args)]
struct Listens {
    /// Where the presence server listens: `udp:ADDRESS[:PORT]`, `tcp:…` or `tls:…`. May be repeated. Without
    /// it, what the configuration says (`presence.listen`), else udp and tcp at 127.0.0.1:5060.
    #[arg(long = "listen", value_name = "LISTEN")]
    listens: Vec<Listen>,
}

#[derive(Args)]
struct Explain {
    /// The address of record: `alice@example.com`, `sip:alice@example.com`, `tel:+15550100`.
    #[arg(value_parser = aor)]
    aor: Aor,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    redial: RedialFlag,
}

#[derive(Args)]
struct Watch {
    /// Addresses of record: `alice@example.com`, `sip:alice@example.com`, `tel:+15550100`.
    #[arg(required = true, value_name = "AOR", value_parser = aor)]
    aors: Vec<Aor>,
    /// The presence server: `sip:host[:port][;transport=udp|tcp|tls]`, or `sips:host[:port]`.
    #[arg(long, value_name = "SIP-URI", value_parser = server_uri)]
    server: NextHop,
    /// How results are written.
    #[arg(long, value_enum, default_value_t = FormatWord::Text)]
    format: FormatWord,
    /// The event packages to subscribe to.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [EventWord::Presence, EventWord::Dialog])]
    events: Vec<EventWord>,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    length_s: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EventWord {
    /// Who is there, and who is on the phone (RFC 3856).
    Presence,
    /// Their calls (RFC 4235).
    Dialog,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether a configuration file is right, or what is wrong on which line.
    Check {
        /// The file; else the one that `--config` or OFFHOOK_CONFIG names.
        file: Option<PathBuf>,
    },
    /// Print the configuration in effect, with meaning, unit and default of every key.
    Show,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatWord {
    /// A call ladder with statuses, made for eyes.
    Text,
    /// One JSON object a line, made for programs.
    Jsonl,
}

impl From<FormatWord> for Format {
    fn from(word: FormatWord) -> Self {
        match word {
            FormatWord::Text => Self::Text,
            FormatWord::Jsonl => Self::JsonLines,
        }
    }
}

impl From<EventWord> for EventPackage {
    fn from(word: EventWord) -> Self {
        match word {
            EventWord::Presence => Self::Presence,
            EventWord::Dialog => Self::Dialog,
        }
    }
}

#[derive(Clone)]
enum PublishTo {
    Configured,
    Embedded,
    Server(NextHop),
}

fn publish_to(text: &str) -> Result<PublishTo, String> {
    match text {
        "config" => Ok(PublishTo::Configured),
        "embedded" => Ok(PublishTo::Embedded),
        _ => server_uri(text).map(PublishTo::Server),
    }
}

fn server_uri(text: &str) -> Result<NextHop, String> {
    NextHop::parse(text).map_err(|error| error.to_string())
}

fn domain(text: &str) -> Result<String, String> {
    managed_domain(text).ok_or_else(|| format!("it {NOT_A_DOMAIN}"))
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Times(factor)),
        _ => Err("it is neither max nor a number above 0".to_owned()),
    }
}

fn aor(text: &str) -> Result<Aor, String> {
    let has_scheme = ["sip:", "sips:", "tel:"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let uri = if has_scheme { text.to_owned() } else { format!("sip:{text}") };
    Aor::from_uri(uri.as_bytes()).ok_or_else(|| "it is no address such as alice@example.com".to_owned())
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads to its end is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let config_file = cli
        .config
        .or_else(|| env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
    let ended = match cli.command {
        Command::Config(command) => config(command, config_file),
        Command::Presence(listens) => read_config(config_file).and_then(|config| presence(listens, config)),
        Command::Replay(arguments) => read_config(config_file).and_then(|config| replay(arguments, config)),
        Command::Tap(arguments) => read_config(config_file).and_then(|config| tap(arguments, config)),
        Command::Watch(arguments) => read_config(config_file).and_then(|config| watch(arguments, config)),
        Command::Explain(arguments) => read_config(config_file).and_then(|config| explain(arguments, config)),
    };
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Incomplete) => ExitCode::from(1),
        Err(Failure::Usage(error)) => {
            let _ = error.print();
            ExitCode::from(2)
        }
        Err(Failure::Told(error)) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Told(error)) => {
            eprintln!("offhook: {error:#}");
            ExitCode::from(1)
        }
    }
}

enum Failure {
    Usage(clap::Error),
    Told(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Told(error.into())
    }
}

/// Whoever read our output has read enough: `offhook … | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Wrong usage of a subcommand, with how that one is used.
fn usage(subcommands: &[&str], what: &str) -> Failure {
    let mut command = Cli::command();
    // Only then the subcommands know what they are called by.
    command.build();
    let error = |command: &mut clap::Command| command.error(ErrorKind::MissingRequiredArgument, what);
    let used = subcommands.iter().try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
    Failure::Usage(used.map_or_else(|| error(&mut Cli::command()), error))
}

fn read_config(file: Option<PathBuf>) -> Result<Config, Failure> {
    Ok(file.map_or_else(|| Ok(Config::default()), |file| read_config_file(&file))?)
}

fn config(command: ConfigCommand, configured: Option<PathBuf>) -> Result<Ended, Failure> {
    let mut out = io::stdout().lock();
    match command {
        ConfigCommand::Check { file } => {
            let Some(file) = file.or(configured) else {
                return Err(usage(
                    &["config", "check"],
                    &format!("name a file, here, by --config or by {CONFIG_VARIABLE}"),
                ));
            };
            let config = read_config_file(&file)?;
            http::check(&config.webhooks)?;
            writeln!(out, "{}: ok", file.display())?;
        }
        ConfigCommand::Show => {
            let config = read_config(configured)?;
            out.write_all(config.to_toml().as_bytes())?;
            if config.has_secrets() {
                eprintln!(
                    "offhook: passwords and secrets are not shown: put them in before using this as a file"
                );
            }
        }
    }
    out.flush()?;
    Ok(Ended::Done)
}

fn replay(arguments: Replay, config: Config) -> Result<Ended, Failure> {
    let rules = rules(&config, arguments.input.domains);
    let format = arguments.outlets.format.into();
    let redial = arguments.redial.section(&config);
    let (publishing, webhooks) = outlets("replay", arguments.outlets, config)?;
    let options = ReplayOptions {
        rules,
        inputs: arguments.input.files,
        filter: arguments.input.filter,
        format,
        speed: arguments.speed,
        publishing,
        webhooks,
        redial,
        progress: !arguments.quiet && io::stderr().is_terminal() && !io::stdout().is_terminal(),
    };
    Ok(replay::replay(options)?)
}

fn tap(arguments: TapArguments, config: Config) -> Result<Ended, Failure> {
    if arguments.write.as_deref() == Some(Path::new("-")) {
        return Err(usage(&["tap"], "--write names a file: standard output is for lines"));
    }
    let rules = rules(&config, arguments.domains);
    let capture = config.capture.clone();
    let format = arguments.outlets.format.into();
    let redial = redial(arguments.redial, arguments.dry_run, &config)?;
    let (publishing, webhooks) = outlets("tap", arguments.outlets, config)?;
    let filter = arguments.filter.join(" ");
    let options = LiveOptions {
        rules,
        interfaces: arguments.interfaces,
        filter: Some(filter).filter(|filter| !filter.trim().is_empty()),
        write: arguments.write,
        capture,
        format,
        publishing,
        webhooks,
        redial,
    };
    Ok(live::tap(options)?)
}

impl RedialFlag {
    /// How to redial, if that is switched on here or in the configuration.
    fn section(&self, config: &Config) -> Option<RedialSection> {
        (self.redial || config.redial.enabled).then(|| config.redial.clone())
    }
}

/// How a tap redials, if that is switched on by the flag or in the configuration.
fn redial(flag: bool, dry_run: bool, config: &Config) -> Result<Option<RedialSection>, Failure> {
    let mut section = config.redial.clone();
    if !flag && !section.enabled {
        return match dry_run {
            true => Err(usage(
                &["tap"],
                "--dry-run says what --redial would do: give that too, or redial.enabled",
            )),
            false => Ok(None),
        };
    }
    section.options.dry_run |= dry_run;
    if section.lacks_its_server() {
        let what = "--redial: the configuration names no proxy that reaches the phones (redial.server); \
                    redial.route = \"direct\" does without, and --dry-run asks none";
        return Err(usage(&["tap"], what));
    }
    Ok(Some(section))
}

/// Whom to publish to and how, and whom to send lines; `command` is what that was asked of.
fn outlets(
    command: &str,
    arguments: Outlets,
    config: Config,
) -> Result<(Option<Publishing>, Vec<WebhookSection>), Failure> {
    let listens = &arguments.listens.listens;
    if !listens.is_empty() && !matches!(arguments.publish, Some(PublishTo::Embedded)) {
        return Err(usage(
            &[command],
            "--listen says where the presence server of --publish embedded listens",
        ));
    }
    let config = with_listens(config, arguments.listens);
    let publishing = match arguments.publish {
        None => None,
        Some(to) => Some(publishing(command, to, arguments.watch, &config)?),
    };
    if arguments.webhooks && config.webhooks.is_empty() {
        return Err(usage(&[command], "--webhooks: the configuration has no [[webhook]] table"));
    }
    Ok((publishing, if arguments.webhooks { config.webhooks } else { Vec::new() }))
}

fn explain(arguments: Explain, config: Config) -> Result<Ended, Failure> {
    let options = ExplainOptions {
        rules: rules(&config, arguments.input.domains),
        inputs: arguments.input.files,
        filter: arguments.input.filter,
        aor: arguments.aor,
        redial: arguments.redial.section(&config),
    };
    Ok(replay::explain(options)?)
}

fn watch(arguments: Watch, config: Config) -> Result<Ended, Failure> {
    let command = WatchCommand {
        aors: arguments.aors,
        watching: Watching {
            target: Target { servers: vec![arguments.server], ca_file: config.publish.tls_ca_file },
            section: config.watch,
            events: EventPackage::ALL
                .into_iter()
                .filter(|package| arguments.events.iter().any(|word| EventPackage::from(*word) == *package))
                .collect(),
        },
        format: arguments.format.into(),
        length: arguments.length_s.map(|seconds| Duration::from_secs(u64::from(seconds))),
    };
    Ok(watch::watch(command)?)
}

fn presence(listens: Listens, config: Config) -> Result<Ended, Failure> {
    Ok(presence_server::serve(&with_listens(config, listens))?)
}

/// What the command line says of where to listen wins.
fn with_listens(mut config: Config, listens: Listens) -> Config {
    if !listens.listens.is_empty() {
        config.presence.listen = listens.listens;
    }
    config
}

fn rules(config: &Config, domains: Domains) -> crate::base::Rules {
    let mut rules = config.rules.clone();
    for domain in domains.domains {
        if !rules.domains.contains(&domain) {
            rules.domains.push(domain);
        }
    }
    rules
}

fn publishing(command: &str, to: PublishTo, watch: bool, config: &Config) -> Result<Publishing, Failure> {
    let (mut section, mut watcher) = (config.publish.clone(), config.watch.clone());
    let to = match to {
        PublishTo::Server(server) => results::PublishTo::Servers(vec![server]),
        PublishTo::Configured if section.servers.is_empty() => {
            return Err(usage(
                &[command],
                "--publish config: the configuration names no server (publish.server)",
            ));
        }
        PublishTo::Configured => results::PublishTo::Servers(section.servers.clone()),
        PublishTo::Embedded => {
            // Our own server knows us by any of its users.
            if let Some((user, password)) = config.presence.users.first_key_value() {
                for (name, secret) in
                    [(&mut section.user, &mut section.password), (&mut watcher.user, &mut watcher.password)]
                {
                    if name.is_none() {
                        (*name, *secret) = (Some(user.clone()), Some(password.clone()));
                    }
                }
            }
            results::PublishTo::Embedded(Box::new(config.clone()))
        }
    };
    Ok(Publishing { to, section, watch: watch.then_some(watcher) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_read_or_refused_with_a_reason() {
        assert!(matches!(speed("max"), Ok(Speed::Max)));
        assert!(matches!(speed("2.5"), Ok(Speed::Times(factor)) if (factor - 2.5).abs() < 1e-9));
        for wrong in ["0", "-1", "inf", "NaN", "fast", ""] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
        assert_eq!(aor("Alice@Example.com").unwrap().as_str(), "sip:Alice@example.com");
        assert_eq!(aor("SIPS:alice@example.com;x=y").unwrap().as_str(), "sip:alice@example.com");
        assert_eq!(aor("tel:+1-555-0100").unwrap().as_str(), "tel:+15550100");
        assert!(aor("").is_err());
        assert_eq!(domain("EXAMPLE.com").unwrap(), "example.com");
        for wrong in ["", "alice@example.com", "a b", "example.com:5060"] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(publish_to("config"), Ok(PublishTo::Configured)));
        assert!(publish_to("presence.example.com").is_err());
    }
}
