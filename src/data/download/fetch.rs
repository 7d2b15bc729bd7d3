//! The transfer itself: one file over http or https, from the byte where an earlier attempt stopped.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body, Error, Timeout};

use super::{DownloadError, Part, Progress, Source, write_error};

/// A server may send us on so often.
const REDIRECTS: u32 = 5;

/// What a server does with the wish to go on from a byte.
enum Answer {
    /// The rest, from that byte.
    Rest(Response<Body>),
    /// The whole file from its beginning.
    Whole(Response<Body>),
    /// Nothing that fits what is here already.
    Useless(u16),
}

/// Brings `part` to the archive's full length.
pub(super) fn fetch(
    agent: &Agent,
    source: &Source,
    part: &mut Part,
    patience: Duration,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), DownloadError> {
    // More than there is to fetch is something else.
    let mut present = Some(part.length()?).filter(|&length| length <= source.bytes).unwrap_or(0);
    if present == source.bytes {
        return Ok(());
    }
    // A part that the server cannot continue is given up once; the second answer has no part to disagree with.
    let (response, start) = loop {
        match ask(agent, source, patience, present)? {
            Answer::Rest(response) => break (response, present),
            Answer::Whole(response) => break (response, 0),
            Answer::Useless(_) if present > 0 => present = 0,
            Answer::Useless(status) => return Err(refusal(source, status)),
        }
    };
    if let Some(length) = response.body().content_length()
        && start.saturating_add(length) != source.bytes
    {
        let found = start.saturating_add(length);
        return Err(DownloadError::Length { url: source.url.clone(), found, wanted: source.bytes });
    }
    if start == 0 {
        part.file.set_len(0).map_err(write_error(&part.path))?;
    }
    receive(source, patience, response, part, watch)?;
    part.file.sync_all().map_err(write_error(&part.path))
}

pub(super) fn agent(source: &Source, patience: Duration) -> Result<Agent, DownloadError> {
    let bad = |reason: &str| DownloadError::Address { url: source.url.clone(), reason: reason.to_owned() };
    let uri: Uri = source.url.parse().map_err(|error: ureq::http::uri::InvalidUri| bad(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(bad(&format!("'{other}' is not spoken here"))),
        None => return Err(bad("it has no beginning")),
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no server"))?;
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECTS)
        .user_agent(concat!("shadegrad/", env!("CARGO_PKG_VERSION")))
        // The archive is compressed already, and a range of a compressed answer would mean nothing.
        .accept_encoding("identity")
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_per_write(Some(patience))
        .timeout_per_read(Some(patience))
        .timeout_recv_response(Some(patience));
    // A proxy from the environment has no way to a server on this machine.
    if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        config = config.proxy(None);
    }
    Ok(config.build().new_agent())
}

fn ask(agent: &Agent, source: &Source, patience: Duration, from: u64) -> Result<Answer, DownloadError> {
    let mut request = agent.get(&source.url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| match error {
        Error::TooManyRedirects => DownloadError::Redirects { url: source.url.clone(), limit: REDIRECTS },
        Error::BadUri(reason) => DownloadError::Address { url: source.url.clone(), reason },
        error => DownloadError::NoAnswer { url: source.url.clone(), reason: plain(&error, patience) },
    })?;
    Ok(match response.status().as_u16() {
        200 => Answer::Whole(response),
        // 'bytes 100-199/200': a server may give another range than the wanted one.
        206 if from > 0 => {
            let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let wanted = format!("bytes {from}-");
            if range.is_some_and(|range| range.starts_with(&wanted)) {
                Answer::Rest(response)
            } else {
                Answer::Useless(206)
            }
        }
        status @ (206 | 416) => Answer::Useless(status),
        status => return Err(refusal(source, status)),
    })
}

fn receive(
    source: &Source,
    patience: Duration,
    response: Response<Body>,
    part: &mut Part,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), DownloadError> {
    let total = source.bytes;
    let mut received = part.file.seek(SeekFrom::End(0)).map_err(write_error(&part.path))?;
    let mut body = response.into_body().into_reader();
    let mut chunk = vec![0; 1 << 16];
    let broken =
        |received: u64, reason: String| DownloadError::Broken { url: source.url.clone(), reason, received, total };
    while received < total {
        watch(Progress::Received(received));
        let room = chunk.len().min((total - received).try_into().unwrap_or(usize::MAX));
        let count = match body.read(&mut chunk[..room]) {
            Ok(0) => return Err(broken(received, "the server closed it".to_owned())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let error = Error::from(error);
                if matches!(error, Error::Timeout(_)) {
                    let seconds = patience.as_secs_f64();
                    return Err(DownloadError::Stalled { url: source.url.clone(), seconds, received, total });
                }
                return Err(broken(received, plain(&error, patience)));
            }
        };
        part.file.write_all(&chunk[..count]).map_err(write_error(&part.path))?;
        part.worthless = false;
        received += count as u64;
    }
    watch(Progress::Received(received));
    // A server that did not announce a length may have more to say; then this is not the archive. If the connection
    // only ends badly, the checksum decides.
    if matches!(body.read(&mut chunk), Ok(count) if count > 0) {
        part.worthless = true;
        return Err(DownloadError::Length { url: source.url.clone(), found: total + 1, wanted: total });
    }
    Ok(())
}

fn refusal(source: &Source, status: u16) -> DownloadError {
    let meaning = match status {
        206 | 416 => "it cannot send the file from its beginning",
        401 | 403 => "access is not allowed",
        404 | 410 => "the file is not there",
        408 | 429 | 503 => "it is too busy; try later",
        500..=599 => "the server itself has a fault; try later",
        _ => "this program cannot use that answer",
    };
    DownloadError::Status { url: source.url.clone(), status, meaning }
}

/// What ureq says, for people.
fn plain(error: &Error, patience: Duration) -> String {
    match error {
        Error::HostNotFound => "no such server is known".to_owned(),
        Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
            format!("it cannot be reached within {} s", patience.as_secs_f64())
        }
        Error::Timeout(_) => format!("it keeps silent for {} s", patience.as_secs_f64()),
        Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
            ErrorKind::ConnectionReset => "the connection was cut off".to_owned(),
            _ => crate::files::reason(error),
        },
        error => error.to_string(),
    }
}
