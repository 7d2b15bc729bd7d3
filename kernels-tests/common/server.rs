//! A web server on this machine for one test: as good or as bad as the test wants.
#![allow(dead_code)] // each test file uses its own part of this one

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Request {
    pub path: String,
    /// The first byte that the client wants, if it says so.
    pub from: Option<usize>,
}

/// What was asked: a path, and where it should begin.
pub type Asked = (String, Option<usize>);

pub struct Server {
    pub address: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers every request with `answer`, one a connection.
    pub fn new(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&log), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen, answer) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        seen.lock().unwrap().push((request.path.clone(), request.from));
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { address, log }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let mut from = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some(Request { path, from })
}

/// An answer with its length announced as `length`; errors mean that the client has gone, which is its right.
pub fn reply(stream: &mut TcpStream, status: &str, headers: &[String], length: Option<usize>, body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    let _ = stream.write_all((head + "\r\n").as_bytes()).and_then(|()| stream.write_all(body));
}

/// The whole file, or its rest from where the client wants it.
pub fn serve(stream: &mut TcpStream, request: &Request, file: &[u8]) {
    match request.from {
        Some(from) if from >= file.len() => reply(stream, "416 Range Not Satisfiable", &[], Some(0), b""),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}", file.len() - 1, file.len());
            reply(stream, "206 Partial Content", &[range], Some(file.len() - from), &file[from..]);
        }
        None => reply(stream, "200 OK", &[], Some(file.len()), file),
    }
}

/// Says nothing more, and waits for the client to go.
pub fn keep_silent(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// A server that has this file and knows its trade.
pub fn good_server(file: &[u8]) -> Server {
    let file = file.to_vec();
    Server::new(move |request, stream| serve(stream, request, &file))
}
