//! Transactions under way: found by the bytes that tell them, or by a ticket that is worthless once they are over.
//! In: what waits for an answer. Out: the same. Knows nothing of what it is.

use crate::base::Places;

/// Stands for one transaction, and for no later one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    place: u32,
    serial: u64,
}

/// Room for so many keys is kept to be used again.
const SPARE_KEYS: usize = 256;

struct Waiting<T> {
    key: Vec<u8>,
    serial: u64,
    what: T,
}

/// What waits, by its key.
pub(super) struct Transactions<T> {
    waiting: Places<Waiting<T>>,
    serial: u64,
    spare_keys: Vec<Vec<u8>>,
}

impl<T> Transactions<T> {
    pub(super) fn new() -> Self {
        Self { waiting: Places::default(), serial: 0, spare_keys: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn place(&self, key: &[u8]) -> Option<u32> {
        self.waiting.find(key, |waiting| waiting.key == key)
    }

    /// What has this key, and its ticket.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<(Ticket, &mut T)> {
        let place = self.place(key)?;
        let waiting = self.waiting.get_mut(place)?;
        Some((Ticket { place, serial: waiting.serial }, &mut waiting.what))
    }

    /// What has this ticket, unless it is over, and its key.
    pub(super) fn get(&mut self, ticket: Ticket) -> Option<(&[u8], &mut T)> {
        let waiting = self.waiting.get_mut(ticket.place)?;
        (waiting.serial == ticket.serial).then_some((&waiting.key, &mut waiting.what))
    }

    pub(super) fn is_open(&self, ticket: Ticket) -> bool {
        self.waiting.get(ticket.place).is_some_and(|waiting| waiting.serial == ticket.serial)
    }

    /// Adds what has a key that nothing else has.
    pub(super) fn insert(&mut self, key: &[u8], what: T) -> Ticket {
        self.serial += 1;
        let serial = self.serial;
        let mut own_key = self.spare_keys.pop().unwrap_or_default();
        own_key.extend_from_slice(key);
        let place = self.waiting.insert(key, |_| Waiting { key: own_key, serial, what });
        Ticket { place, serial }
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<T> {
        let place = self.place(key)?;
        self.remove_at(place)
    }

    /// Takes out what has this ticket.
    pub(super) fn remove_ticket(&mut self, ticket: Ticket) -> Option<T> {
        self.get(ticket)?;
        self.remove_at(ticket.place)
    }

    fn remove_at(&mut self, place: u32) -> Option<T> {
        let mut gone = self.waiting.remove(place)?;
        if self.spare_keys.len() < SPARE_KEYS {
            gone.key.clear();
            self.spare_keys.push(gone.key);
        }
        Some(gone.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_of_one_transaction_only() {
        let mut transactions = Transactions::new();
        let first = transactions.insert(b"one", 1);
        assert_eq!((transactions.get(first).map(|(_, what)| *what), transactions.len()), (Some(1), 1));
        assert_eq!(transactions.remove(b"one"), Some(1));
        let second = transactions.insert(b"one", 2);
        assert!(transactions.get(first).is_none());
        assert_eq!(transactions.remove_ticket(first), None);
        assert_eq!(transactions.find(b"one"), Some((second, &mut 2)));
        assert_eq!(transactions.remove_ticket(second), Some(2));
        assert!(transactions.is_empty());
    }
}
