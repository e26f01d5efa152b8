//! Answers of servers that mean harm, each with its name, for what calls them over HTTP. What a client has to make of those of one kind
//! is the same.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use edge_credential_operator::http::Unreachable;
use edge_credential_operator::http::route::Deadlines;

use super::tls::Certificate;
use super::wire::Wire;

/// In all that such a server says: it must not come out anywhere.
pub const CANARY: &str = "CANARY";

/// What a client may take before it gives up, in bytes, and what the socket buffers of a loopback connection hold beside.
pub const LITTLE: u64 = 16 * 1024 * 1024;

/// How a success begins. Headers may follow.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// What would move a cursor, end a log line, or turn the direction of writing.
pub const CONTROL: &str = "CANARY\r\nCANARY: x\u{1b}[2J\u{0}\u{85}\u{202e}";

/// Longer than a request takes to arrive, and short enough to wait for where no answer comes.
pub const SHORT: Deadlines = Deadlines {
    connect: Duration::from_secs(1),
    total: Duration::from_secs(1),
};

/// No test waits for them: they only must not come first on a busy machine.
pub const PATIENT: Deadlines = Deadlines {
    connect: Duration::from_secs(60),
    total: Duration::from_secs(60),
};

/// Headers that clients read, with bytes in them that say nothing.
pub const HEADERS: [(&str, &str); 6] = [
    ("content-type", "application/json; charset=\u{e9}\tCANARY"),
    ("retry-after", "\u{e9}CANARY\t"),
    ("date", "\u{e9}CANARY"),
    ("www-authenticate", "Basic realm=\"CANARY\u{e9}\""),
    ("x-ratelimit-remaining", "CANARY\u{e9}"),
    ("auth0-client-quota-limit", "b=CANARY;q=\u{e9};r=-1;t=1e99"),
];

/// Certificates that are good for nobody, and what is told of them. They are signed by a front's own authority but for the one that is
/// signed by nobody else.
pub const CERTIFICATES: [(Certificate, Unreachable); 5] = [
    (
        // In the certificate it is what the server says, and is not repeated.
        Certificate::WrongName("CANARY.example"),
        Unreachable::OtherName,
    ),
    (Certificate::Expired, Unreachable::Expired),
    (Certificate::NotYetValid, Unreachable::NotYetValid),
    (Certificate::SelfSigned, Unreachable::Untrusted),
    (Certificate::WrongUsage, Unreachable::Untrusted),
];

/// The origin of a host whose name is not found. A label of more than 63 characters is no name, so that nobody is asked for it.
pub fn nowhere() -> String {
    format!("http://{}.example", "x".repeat(64))
}

/// Where a proxy listens that answers so, once, and then ends the connection.
pub fn proxy(answer: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.into();
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let asked = connection.read(&mut [0; 4096]).unwrap();
        assert!(asked > 0);
        connection.write_all(&answer).unwrap();
    });
    url
}

/// A time between two pieces, many of which go into a deadline.
const PAUSE: Duration = Duration::from_millis(20);

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: <CANARY>\r\n\r\n";

/// Slow in each part of an answer that is a success otherwise: the deadline ends it.
pub fn slow(success: &str) -> Vec<(&'static str, Wire)> {
    let long_header = format!("{OK}x-canary: {CANARY}");
    let body = format!("{OK}content-length: 100\r\n\r\n");
    let body = |wire: Wire| Wire {
        pieces: [vec![body.clone().into_bytes()], wire.pieces].concat(),
        ..wire
    };
    vec![
        ("nothing", Wire::bytes("").then_silence()),
        ("the status line", Wire::drip(&long_header[..15], PAUSE)),
        ("the headers", Wire::drip(&long_header, PAUSE)),
        ("half a header", Wire::bytes(&*long_header).then_silence()),
        ("the body", body(Wire::drip(success, PAUSE))),
        ("no body", body(Wire::bytes("")).then_silence()),
        (
            "chunks",
            Wire::endless(chunked(""), "1\r\n \r\n").every(PAUSE),
        ),
        ("interim answers", Wire::endless("", HINTS).every(PAUSE)),
    ]
}

/// Interim answers without end and without a pause: the deadline ends them.
pub fn flood() -> Wire {
    Wire::endless("", HINTS)
}

/// A head that is not read to its end, because it has none, or is too long: the connection is given up.
pub fn heads() -> Vec<(&'static str, Wire)> {
    let thousands: String = (0..5000)
        .map(|number| format!("x-{number}: {CANARY}\r\n"))
        .collect();
    vec![
        (
            "headers without end",
            Wire::endless(OK, many("x-canary: CANARY\r\n")),
        ),
        (
            "a header without end",
            Wire::endless(format!("{OK}x: "), many(CANARY)),
        ),
        ("a name without end", Wire::endless(OK, many(CANARY))),
        (
            "a reason without end",
            Wire::endless("HTTP/1.1 200 ", many(CANARY)),
        ),
        (
            "thousands of headers",
            Wire::bytes(format!("{OK}{thousands}content-length: 2\r\n\r\n{{}}")),
        ),
    ]
}

/// A body that is read to its limit, because it has no end, or a far one.
pub fn bodies() -> Vec<(&'static str, Wire)> {
    vec![
        (
            "tiny chunks",
            Wire::endless(chunked(""), "1\r\nx\r\n".repeat(1000)),
        ),
        (
            "large chunks",
            Wire::endless(chunked(""), format!("10000\r\n{}\r\n", "x".repeat(0x10000))),
        ),
        (
            "a chunk without end",
            Wire::endless(chunked("fffffffffffffff\r\n"), "x".repeat(8192)),
        ),
        (
            "until the connection closes",
            Wire::endless(format!("{OK}\r\n"), "x".repeat(8192)),
        ),
        (
            "an enormous length",
            Wire::endless(
                format!("{OK}content-length: 9000000000000000000\r\n\r\n"),
                "x".repeat(8192),
            ),
        ),
    ]
}

/// What is not HTTP from its first line or one of its headers on: the connection is given up.
pub fn no_http(success: &str) -> Vec<(&'static str, Wire)> {
    let with = |header: &str| Wire::bytes(format!("{OK}{header}\r\n\r\n{success}"));
    vec![
        ("nothing", Wire::bytes("")),
        ("HTTP/0.9", Wire::bytes(format!("{success}\r\n"))),
        ("HTTP/9.9", Wire::bytes("HTTP/9.9 200 OK\r\n\r\n")),
        ("another protocol", Wire::bytes("220 CANARY ESMTP\r\n")),
        (
            "noise",
            Wire::bytes(*b"\x16\x03\x01\x00\xff\xfe\x00CANARY\r\n\r\n"),
        ),
        ("no number", Wire::bytes("HTTP/1.1 CANARY OK\r\n\r\n")),
        ("a NUL in a header", with("x: CANARY\0CANARY")),
        ("a bare newline in a header", with("x: CANARY\rCANARY")),
        ("a length that is none", with("content-length: CANARY")),
        ("a negative length", with("content-length: -1")),
        (
            "a length beyond 64 bits",
            with("content-length: 99999999999999999999"),
        ),
        (
            "two lengths",
            with("content-length: 2\r\ncontent-length: 66"),
        ),
    ]
}

/// A success whose body breaks off: before its end, or where it is not HTTP any more.
pub fn cut_off(success: &str) -> Vec<(&'static str, Wire)> {
    vec![
        (
            "chunk extensions without end",
            Wire::endless(chunked("1;"), many("CANARY=CANARY;")),
        ),
        (
            "trailers without end",
            Wire::endless(chunked("0\r\n"), many("x-canary: CANARY\r\n")),
        ),
        ("no chunk size", Wire::bytes(chunked("CANARY\r\n"))),
        (
            "a chunk size beyond 64 bits",
            Wire::bytes(chunked("fffffffffffffffff\r\nCANARY")),
        ),
        (
            "a negative chunk size",
            Wire::bytes(chunked("-1\r\nCANARY")),
        ),
        (
            "a chunk that ends early",
            Wire::bytes(chunked("ff\r\nCANARY")),
        ),
        (
            "a chunk without its newline",
            Wire::bytes(chunked("6\r\nCANARYCANARY\r\n0\r\n\r\n")),
        ),
        (
            "a length that is longer",
            Wire::bytes(format!("{OK}content-length: 1000\r\n\r\n{success}")),
        ),
    ]
}

/// A refusal, and on the same connection this success, which nobody has asked for.
pub fn unasked(success: &str) -> Wire {
    let length = success.len();
    let second = format!("{OK}content-length: {length}\r\n\r\n{success}");
    Wire::bytes(format!(
        "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n{second}"
    ))
    .then_silence()
}

fn chunked(rest: &str) -> String {
    format!("{OK}transfer-encoding: chunked\r\n\r\n{rest}")
}

/// As much in one write as makes the limits come soon.
fn many(text: &str) -> String {
    text.repeat(4096 / text.len())
}
