//! A name server with a few names, in place of the cluster's. The operator's image has to find a token endpoint by its
//! name, which takes files and libraries that a minimal image may lack.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Names in lower case, and where they are.
type Names = HashMap<String, Ipv4Addr>;

/// A name server. Its thread ends with the process.
#[derive(Debug)]
pub struct NameServer {
    names: Arc<Mutex<Names>>,
    answered: Arc<AtomicU64>,
}

const HEADER: usize = 12;
const NO_SUCH_NAME: u8 = 3;

impl NameServer {
    /// Answers that there are no names but those that are [added](Self::add).
    pub fn start(listen: SocketAddr) -> io::Result<NameServer> {
        let socket = UdpSocket::bind(listen)?;
        let server = NameServer {
            names: Arc::default(),
            answered: Arc::default(),
        };
        let (names, answered) = (server.names.clone(), server.answered.clone());
        thread::Builder::new()
            .name("dns".to_owned())
            .spawn(move || {
                let mut buffer = [0; 512];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let answer = {
                        let names = names.lock().unwrap_or_else(PoisonError::into_inner);
                        answer(&buffer[..length], &names)
                    };
                    if let Some((answer, found)) = answer {
                        answered.fetch_add(u64::from(found), Ordering::Relaxed);
                        // Whoever gets no answer asks again.
                        let _ = socket.send_to(&answer, from);
                    }
                }
            })?;
        Ok(server)
    }

    /// From now on, this name is at this address.
    pub fn add(&self, name: &str, address: Ipv4Addr) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), address);
    }

    /// How many addresses it has given.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The answer to a question, and whether it has an address. Nothing for what is no question.
fn answer(question: &[u8], names: &Names) -> Option<(Vec<u8>, bool)> {
    let (name, end) = read_name(question)?;
    let kind = question.get(end..end + 2)?;
    let known = names.get(&name.to_ascii_lowercase());
    let found = known.filter(|_| kind == [0, 1]);
    let mut answer = question.get(..end + 4)?.to_vec();
    // An answer with authority, to one question; recursion is as desired. Its counts of further records are 0.
    answer[2] = 0x84 | (question[2] & 1);
    answer[3] = 0x80 | if known.is_some() { 0 } else { NO_SUCH_NAME };
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    if let Some(address) = found {
        // The name of the question, an address of the internet, for no time, in four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some((answer, found.is_some()))
}

/// The name that is asked for, and where it ends.
fn read_name(question: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = question.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn ask(name: &str, kind: u8) -> Option<(Vec<u8>, bool)> {
        let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.extend([0, 0, kind, 0, 1]);
        // What follows the question, as resolvers add it, is not repeated.
        question.extend([0, 0, 41, 0, 0]);
        let names = Names::from([("auth.test".to_owned(), ADDRESS)]);
        answer(&question, &names)
    }

    #[test]
    fn a_known_name_has_an_address() {
        let (answer, found) = ask("AUTH.test", 1).unwrap();
        assert!(found);
        assert_eq!(answer[..HEADER], [7, 7, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 1]));
    }

    #[test]
    fn a_known_name_has_no_address_of_another_kind() {
        let (answer, found) = ask("auth.test", 28).unwrap();
        assert!(!found);
        assert_eq!(answer[3], 0x80);
        assert_eq!(answer[7], 0);
    }

    #[test]
    fn an_unknown_name_does_not_exist() {
        let (answer, found) = ask("auth.test.storefront.svc", 1).unwrap();
        assert!(!found);
        assert_eq!(answer[3], 0x80 | NO_SUCH_NAME);
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        for length in 0..20 {
            assert!(answer(&vec![9; length], &Names::new()).is_none());
        }
    }
}
