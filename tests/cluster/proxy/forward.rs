//! One call: the rule that it meets, the API server's reply, the caller's answer.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::sync::mpsc;

use super::super::kubeconfig::{Identity, Kubeconfig};
use super::Shared;
use super::call::{Call, Verb};
use super::rule::{Fault, Held, Verdict};
use super::stream;

type Body = BoxBody<Bytes, std::io::Error>;

/// Ends a connection without a reply.
#[derive(Debug, thiserror::Error)]
#[error("closed by the proxy")]
pub(super) struct Closed;

/// The API server, and who asks it.
pub(super) struct Upstream {
    server: String,
    client: reqwest::Client,
}

impl Upstream {
    pub(super) fn new(kubeconfig: &Kubeconfig) -> Result<Self, reqwest::Error> {
        // HTTP/1.1: a call that is dropped then shows to the API server as a connection that is closed, and no call waits for another's.
        let mut client = reqwest::Client::builder().http1_only().no_proxy().retry(reqwest::retry::never());
        client = client.redirect(reqwest::redirect::Policy::none());
        if let Some(authority) = &kubeconfig.authority {
            client = client.tls_certs_only([reqwest::Certificate::from_pem(authority.as_bytes())?]);
        }
        if let Identity::Certificate(certified) = &kubeconfig.identity {
            let pem = format!("{}{}", certified.certificate, certified.key);
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
        }
        Ok(Self { server: kubeconfig.server.clone(), client: client.build()? })
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<reqwest::Response, Closed> {
        let (head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = self.client.request(head.method, format!("{}{path}", self.server)).headers(end_to_end(head.headers));
        // An API server that is away looks the same with the proxy as without.
        request.body(body).send().await.map_err(|_| Closed)
    }
}

/// Serves one request. An error closes the connection.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let user_agent = head.headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let number = shared.state(|state| state.next_number());
    let call = Call::parse(number, &head.method, &head.uri, user_agent.unwrap_or_default());
    let fault = shared.state(|state| state.arrive(call.clone()));
    let answered = |response: Response<Body>| {
        shared.state(|state| state.answered(number, response.status().as_u16()));
        Ok(response)
    };

    if let Some((_, fault)) = &fault
        && let Some(response) = before(fault, &call).await?
    {
        return answered(response);
    }
    shared.state(|state| state.forwarded(number));
    let reply = shared.upstream.ask(Request::from_parts(head, body)).await?;
    if let Some((_, fault)) = &fault
        && fault.is_after_commit()
        && let Some(response) = after(fault, &call).await?
    {
        return answered(response);
    }
    let is_open_watch = call.verb == Verb::Watch && reply.status() == StatusCode::OK;
    let (mut head, body) = http::Response::from(reply).into_parts();
    head.headers = end_to_end(head.headers);
    let body = if is_open_watch {
        let flow = shared.state(|state| state.open(call, fault));
        let events = stream::events(reqwest_stream(body), flow, stream::Registration::new(&shared, number));
        BodyExt::boxed(StreamBody::new(events.map_ok(Frame::data)))
    } else {
        body.map_err(std::io::Error::other).boxed()
    };
    answered(Response::from_parts(head, body))
}

/// What happens before the API server is asked; none: it is asked.
async fn before(fault: &Fault, call: &Call) -> Result<Option<Response<Body>>, Closed> {
    match fault {
        Fault::Answer(status) => Ok(Some(status_response(*status))),
        Fault::AnswerWithoutRetryAfter(status) => {
            let mut response = status_response(*status);
            response.headers_mut().remove(header::RETRY_AFTER);
            Ok(Some(response))
        }
        Fault::Close => Err(Closed),
        Fault::Hang => std::future::pending().await,
        Fault::HoldRequest(holder) => hold(holder, call).await,
        Fault::Delay(by) => {
            tokio::time::sleep(*by).await;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// What happens after the API server has committed; none: its reply is passed on.
async fn after(fault: &Fault, call: &Call) -> Result<Option<Response<Body>>, Closed> {
    match fault {
        Fault::AnswerAfterCommit(status) => Ok(Some(status_response(*status))),
        Fault::DropReply => Err(Closed),
        Fault::HangReply => std::future::pending().await,
        Fault::HoldReply(holder) => hold(holder, call).await,
        _ => Ok(None),
    }
}

async fn hold(holder: &mpsc::UnboundedSender<Held>, call: &Call) -> Result<Option<Response<Body>>, Closed> {
    let (held, decided) = Held::new(call.clone());
    holder.send(held).map_err(|_| Closed)?;
    match decided.await {
        Ok(Verdict::Release) => Ok(None),
        Ok(Verdict::Answer(status)) => Ok(Some(status_response(status))),
        Err(_) => Err(Closed),
    }
}

/// An answer in the API server's place, with the reason that it would give.
fn status_response(status: u16) -> Response<Body> {
    let reason = match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let content = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": "a fault made by the test's proxy",
        "reason": reason,
        "code": status,
    });
    let mut response = Response::new(Full::from(content.to_string()).map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == 429 {
        // Priority and fairness says so too.
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Without the headers that speak of one connection (RFC 9110 section 7.6.1).
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for name in [header::CONNECTION, header::HOST, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE] {
        headers.remove(name);
    }
    headers
}

fn reqwest_stream(body: reqwest::Body) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync + 'static {
    body.into_data_stream().map_err(std::io::Error::other)
}
