//! A name server with a few names, in place of the cluster's. The operator's image has to find a token endpoint by its
//! name, which takes files and libraries that a minimal image may lack.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// Names in lower case, and where they are.
type Names = HashMap<String, Vec<IpAddr>>;

/// A name server. Its threads end with the process.
#[derive(Debug)]
pub struct NameServer {
    names: Arc<Mutex<Names>>,
    answered: Arc<AtomicU64>,
}

const HEADER: usize = 12;
const NO_SUCH_NAME: u8 = 3;

/// The kinds of records that have addresses, A and AAAA.
const IPV4: [u8; 2] = [0, 1];
const IPV6: [u8; 2] = [0, 28];

impl NameServer {
    /// Answers, on each of these ports, that there are no names but those that are [added](Self::add).
    pub fn start(address: IpAddr, ports: &[u16]) -> io::Result<NameServer> {
        let server = NameServer {
            names: Arc::default(),
            answered: Arc::default(),
        };
        for &port in ports {
            server.listen(UdpSocket::bind((address, port))?)?;
        }
        Ok(server)
    }

    fn listen(&self, socket: UdpSocket) -> io::Result<()> {
        let (names, answered) = (self.names.clone(), self.answered.clone());
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
        Ok(())
    }

    /// From now on, this name is at these addresses.
    pub fn add(&self, name: &str, addresses: Vec<IpAddr>) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_ascii_lowercase(), addresses);
    }

    /// How many questions it has answered with an address.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The answer to a question, and whether it has an address. Nothing for what is no question.
fn answer(question: &[u8], names: &Names) -> Option<(Vec<u8>, bool)> {
    let (name, end) = read_name(question)?;
    let kind = question.get(end..end + 2)?;
    let known = names.get(&name.to_ascii_lowercase());
    let found = known
        .into_iter()
        .flatten()
        .find(|address| kind == if address.is_ipv4() { IPV4 } else { IPV6 });
    let mut answer = question.get(..end + 4)?.to_vec();
    // An answer with authority, to one question; recursion is as desired. Its counts of further records are 0.
    answer[2] = 0x84 | (question[2] & 1);
    answer[3] = 0x80 | if known.is_some() { 0 } else { NO_SUCH_NAME };
    answer[4..HEADER].copy_from_slice(&[0, 1, 0, u8::from(found.is_some()), 0, 0, 0, 0]);
    if let Some(address) = found {
        let address = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        // The name of the question, an address of the kind that was asked for, of the internet, for no time.
        answer.extend([0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0, 0]);
        answer.extend([0, u8::try_from(address.len()).unwrap_or_default()]);
        answer.extend(address);
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
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const ADDRESS_OF_IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

    fn ask(name: &str, kind: u8) -> Option<(Vec<u8>, bool)> {
        let mut question = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            question.push(u8::try_from(label.len()).unwrap());
            question.extend(label.as_bytes());
        }
        question.extend([0, 0, kind, 0, 1]);
        // What follows the question, as resolvers add it, is not repeated.
        question.extend([0, 0, 41, 0, 0]);
        let names = Names::from([
            ("auth.test".to_owned(), vec![ADDRESS, ADDRESS_OF_IPV6]),
            ("old.test".to_owned(), vec![ADDRESS]),
        ]);
        answer(&question, &names)
    }

    #[test]
    fn a_known_name_has_an_address_of_each_family() {
        let (answer, found) = ask("AUTH.test", 1).unwrap();
        assert!(found);
        assert_eq!(answer[..HEADER], [7, 7, 0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 1]));
        let (answer, found) = ask("auth.test", 28).unwrap();
        assert!(found);
        let end = [
            0, 28, 0, 1, 0, 0, 0, 0, 0, 16, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        assert!(answer.ends_with(&end));
    }

    #[test]
    fn a_known_name_has_no_address_of_another_kind() {
        let (answer, found) = ask("old.test", 28).unwrap();
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
