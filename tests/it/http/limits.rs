//! Slow, greedy and many clients; and the stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgvigil::net::serve::Limits;

use super::{Open, Stub, ask};
use crate::support::agent::{get, sample};

const SHORT: Duration = Duration::from_millis(300);

fn impatient() -> Limits {
    Limits { head_time: SHORT, stall: SHORT, ..Limits::default() }
}

/// Whether the other side closes within two seconds.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_slow_head_ends_the_connection() {
    let door = Open::of(Stub::default(), None, impatient());
    let mut silent = TcpStream::connect(door.address).unwrap();
    let mut slow = TcpStream::connect(door.address).unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
    let started = Instant::now();
    while started.elapsed() < 2 * SHORT {
        std::thread::sleep(SHORT / 5);
        // One byte at a time keeps nothing alive.
        if slow.write_all(b"x").is_err() {
            break;
        }
    }
    assert!(is_closed(&mut slow));
    assert!(is_closed(&mut silent));
}

#[test]
fn an_idle_connection_is_closed() {
    let door = Open::of(Stub::default(), None, impatient());
    let mut idle = TcpStream::connect(door.address).unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut some = [0; 512];
    assert!(idle.read(&mut some).unwrap() > 0);
    assert!(is_closed(&mut idle));
}

#[test]
fn who_does_not_read_is_let_go() {
    // More than both sides' socket buffers hold.
    let door = Open::of(Stub { more: 200_000, ..Stub::default() }, None, impatient());
    let mut greedy = TcpStream::connect(door.address).unwrap();
    greedy.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 16];
    greedy.read_exact(&mut first).unwrap();
    assert_eq!(&first[..15], b"HTTP/1.1 200 OK");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        std::thread::sleep(SHORT);
        let page = get(door.address, "/metrics", &[]).body;
        if sample(&page, "pgvigil_http_connections", &[]) == Some(1.0) {
            break;
        }
        assert!(Instant::now() < deadline, "the connection is still open");
    }
    let mut rest = Vec::new();
    assert!(greedy.read_to_end(&mut rest).map_or(true, |read| read < 20 << 20));
}

#[test]
fn an_oversized_head_is_refused() {
    let door = Open::new();
    let long = "x".repeat(20 << 10);
    let reply = ask(door.address, &format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"));
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    let reply = ask(door.address, &format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(reply.starts_with("HTTP/1.1 4"), "{reply}");
    let many = "A: b\r\n".repeat(1000);
    let reply = ask(door.address, &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"));
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    assert_eq!(door.get("/livez").status, 200);
}

#[test]
fn no_nonsense_breaks_it() {
    let door = Open::new();
    for nonsense in ["\r\n\r\n\r\n", "GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let reply = ask(door.address, nonsense);
        assert!(!reply.starts_with("HTTP/1.1 2"), "{nonsense:?}: {reply}");
    }
    // A body that is announced and never comes does not hold the answer up.
    let reply =
        ask(door.address, "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert_eq!(door.get("/livez").status, 200);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let limits = Limits { connections: 4, ..impatient() };
    let door = Open::of(Stub::default(), None, limits);
    let idle: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(door.address).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(50));
    let reply = door.get("/livez");
    assert_eq!(reply.status, 200);
    assert!(reply.took > Duration::from_millis(100), "not held back: {:?}", reply.took);
    drop(idle);
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..100).map(|_| scope.spawn(|| door.get("/metrics").status)).collect();
        assert!(asking.into_iter().all(|asked| asked.join().unwrap() == 200));
    });
}

#[test]
fn a_stop_lets_answers_finish_and_takes_in_nothing_new() {
    let door = Open::with(Stub { delay: Duration::from_millis(700), ..Stub::default() });
    let mut idle = TcpStream::connect(door.address).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| door.get("/metrics"));
        std::thread::sleep(Duration::from_millis(200));
        let stop = door.group.stop(Duration::from_secs(5), Duration::ZERO);
        assert!(door.runtime.block_on(stop).is_empty(), "did not end by itself");
        assert_eq!(asked.join().unwrap().status, 200);
    });
    assert!(is_closed(&mut idle));
    assert!(TcpStream::connect(door.address).is_err());
}

#[test]
fn a_cut_waits_for_nobody() {
    let door = Open::with(Stub { delay: Duration::from_secs(60), ..Stub::default() });
    let mut asking = TcpStream::connect(door.address).unwrap();
    asking.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    let stop = door.group.stop(Duration::from_millis(100), Duration::from_secs(5));
    assert!(door.runtime.block_on(stop).is_empty(), "tasks had to be aborted");
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(is_closed(&mut asking));
}
