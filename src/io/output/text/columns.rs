//! The ladder's uprights: which host stands in which column.
//! In: the two addresses of a message. Out: columns, and the arrow between them. Knows nothing of SIP.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::super::style::{Cells, Ink, shorten};
use crate::base::Timestamp;

/// Where the text behind time and frame number begins.
pub const FIRST_CELL: usize = 21;
/// From one lifeline to the next.
const PITCH: usize = 20;
/// The first lifeline: a host's name is centred on it.
const FIRST_LIFELINE: usize = FIRST_CELL + 7;
/// What fits on an arrow between neighbours: it keeps a blank at both ends, its head and a dash.
pub const LABEL_WIDTH: usize = PITCH - 5;
/// What is kept free to the right of the lifelines, to say who calls whom, where there is room for three hosts.
const MARGIN_WIDTH: usize = 28;
/// More are hard to follow with the eye.
pub const MAX_COLUMNS: usize = 6;
/// The width of a ladder of so many hosts, with the names above them.
pub const fn width_of(hosts: usize) -> usize {
    FIRST_LIFELINE + PITCH * hosts.saturating_sub(1) + 6
}

/// A host that was silent for so long gives its column to one that speaks.
const IDLE: Duration = Duration::from_secs(5);

/// Hosts are told apart by address, and by port too where a host talks to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Socket(SocketAddr),
}

impl Host {
    fn name(self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Socket(socket) => socket.to_string(),
        }
    }
}

struct Column {
    host: Host,
    used: Timestamp,
}

/// From which column to which a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    from: usize,
    to: usize,
    /// A host came into a column: the columns must be named again.
    pub opened: bool,
}

/// The columns of a ladder.
pub struct Columns {
    columns: Vec<Column>,
    capacity: usize,
}

impl Columns {
    /// As many as fit into so many characters.
    pub fn new(width: usize) -> Self {
        let columns = |margin: usize| width.saturating_sub(FIRST_LIFELINE + margin) / PITCH + 1;
        let capacity = columns(MARGIN_WIDTH).max(columns(PITCH / 2).min(3));
        Self { columns: Vec::new(), capacity: capacity.clamp(2, MAX_COLUMNS) }
    }

    /// So many.
    pub const fn of(capacity: usize) -> Self {
        Self { columns: Vec::new(), capacity }
    }

    /// The columns of a message's two hosts; `None` when there is no column left for one of them.
    pub fn place(&mut self, source: SocketAddr, destination: SocketAddr, now: Timestamp) -> Option<Place> {
        let host = |socket: SocketAddr| {
            if source.ip() == destination.ip() { Host::Socket(socket) } else { Host::Address(socket.ip()) }
        };
        let hosts = [host(source), host(destination)];
        let known = hosts.map(|host| self.find(host));
        if known.contains(&None)
            && !self.has_room(hosts, known.iter().filter(|column| column.is_none()).count(), now)
        {
            return None;
        }
        // Those that stand already must not be the ones that give way.
        for column in known.into_iter().flatten() {
            self.touch(column, now);
        }
        let [from, to] = hosts.map(|host| self.find(host).unwrap_or_else(|| self.open(host, now)));
        Some(Place { from, to, opened: known.contains(&None) })
    }

    fn find(&self, host: Host) -> Option<usize> {
        self.columns.iter().position(|column| column.host == host)
    }

    fn touch(&mut self, column: usize, now: Timestamp) {
        if let Some(column) = self.columns.get_mut(column) {
            column.used = now;
        }
    }

    fn has_room(&self, hosts: [Host; 2], wanted: usize, now: Timestamp) -> bool {
        let free = self.capacity.saturating_sub(self.columns.len());
        let idle = self
            .columns
            .iter()
            .filter(|column| !hosts.contains(&column.host) && now.since(column.used) >= IDLE)
            .count();
        free + idle >= wanted
    }

    fn open(&mut self, host: Host, now: Timestamp) -> usize {
        let column = Column { host, used: now };
        if self.columns.len() < self.capacity {
            self.columns.push(column);
            return self.columns.len() - 1;
        }
        let oldest =
            self.columns.iter().enumerate().min_by_key(|(_, column)| column.used).map_or(0, |(at, _)| at);
        if let Some(place) = self.columns.get_mut(oldest) {
            *place = column;
        }
        oldest
    }

    /// Where the text to the right of the lifelines begins.
    pub fn margin(&self) -> usize {
        FIRST_LIFELINE + PITCH * self.columns.len().saturating_sub(1) + 4
    }

    fn lifeline(column: usize) -> usize {
        FIRST_LIFELINE + PITCH * column
    }

    /// The hosts' names, each above its lifeline.
    pub fn draw_names(&self, line: &mut Cells) {
        for (at, column) in self.columns.iter().enumerate() {
            let name = column.host.name();
            let name = shorten(&name, PITCH - 1);
            let half = name.chars().count() / 2;
            line.put(Self::lifeline(at).saturating_sub(half), Ink::Bold, &name);
        }
    }

    /// The uprights.
    pub fn draw_lifelines(&self, line: &mut Cells, upright: char) {
        for at in 0..self.columns.len() {
            line.put(Self::lifeline(at), Ink::Dim, upright.encode_utf8(&mut [0; 4]));
        }
    }

    /// An arrow with its label next to the sender; a dotted one for what is repeated.
    pub fn draw_arrow(&self, line: &mut Cells, place: Place, label: &str, ink: Ink, repeated: bool) {
        let (from, to) = (Self::lifeline(place.from), Self::lifeline(place.to));
        let ink = if repeated { Ink::Dim } else { ink };
        if from == to {
            line.put(from + 1, ink, &format!("⟲ {label}"));
            return;
        }
        let dash = if repeated { "┄" } else { "─" };
        let (left, right) = (from.min(to), from.max(to));
        for at in left + 1..right {
            let crossed = (at - FIRST_LIFELINE).is_multiple_of(PITCH);
            line.put(at, ink, if crossed { "┼" } else { dash });
        }
        let label = format!(" {label} ");
        let free = (PITCH - 2).saturating_sub(label.chars().count());
        if from < to {
            line.put(from + 1 + free.div_ceil(2), ink, &label);
            line.put(right - 1, ink, "▶");
        } else {
            line.put(from - PITCH + 2 + free / 2, ink, &label);
            line.put(left + 1, ink, "◀");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5060))
    }

    #[test]
    fn a_host_keeps_its_column_while_it_speaks_and_the_silent_give_way() {
        let at = Timestamp::from_secs;
        assert_eq!(Columns::new(80).capacity, 3);
        assert_eq!(Columns::new(160).capacity, 6);
        let mut columns = Columns::new(60);
        assert_eq!(columns.capacity, 2);
        let place = columns.place(socket(1), socket(2), at(0)).unwrap();
        assert_eq!((place.from, place.to, place.opened), (0, 1, true));
        let back = columns.place(socket(2), socket(1), at(1)).unwrap();
        assert_eq!((back.from, back.to, back.opened), (1, 0, false));
        assert_eq!(columns.place(socket(3), socket(2), at(2)), None, "both columns are in use");
        let third = columns.place(socket(3), socket(2), at(7)).unwrap();
        assert_eq!((third.from, third.to, third.opened), (0, 1, true));
    }

    #[test]
    fn programs_on_one_host_are_told_apart_by_port() {
        let mut columns = Columns::new(120);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let place = columns.place(local(5060), local(5080), Timestamp::EPOCH).unwrap();
        assert_eq!((place.from, place.to), (0, 1));
        let own = columns.place(local(5060), local(5060), Timestamp::EPOCH).unwrap();
        assert_eq!(own.from, own.to);
    }
}
