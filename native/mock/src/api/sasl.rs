//! SASL on the wire, with its messages in SaslAuthenticate (KIP-152); the bare ones that version 0 of
//! SaslHandshake asks for are not spoken, though it is offered: librdkafka takes brokers without it for ones
//! that know no SASL.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::sasl::{Login, Reply, MECHANISMS};

pub(crate) fn handshake(
    _cluster: &mut Cluster,
    connection: &mut Connection,
    call: &Call,
    request: SaslHandshakeRequest,
) -> Answer<SaslHandshakeResponse> {
    if call.version == 0 {
        return Answer::Close;
    }
    connection.login = Login::new(&request.mechanism);
    let code = match (call.refused(), &connection.login) {
        (Some(code), _) => code,
        (None, Some(_)) => ErrorCode::NO_ERROR,
        (None, None) => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
    };
    Answer::Now(
        SaslHandshakeResponse::default()
            .with_error_code(code.0)
            .with_mechanisms(MECHANISMS.map(text).to_vec()),
    )
}

pub(crate) fn authenticate(
    cluster: &mut Cluster,
    connection: &mut Connection,
    call: &Call,
    request: SaslAuthenticateRequest,
) -> Answer<SaslAuthenticateResponse> {
    let response = SaslAuthenticateResponse::default();
    if let Some(code) = call.refused() {
        return Answer::Now(response.with_error_code(code.0));
    }
    // Nobody guesses at a test's broker: unlike others, it need not be random.
    let nonce = format!("mock{}", cluster.new_id());
    let now = call.now + cluster.skew_of(call.broker);
    let Some(login) = &mut connection.login else {
        return Answer::Now(response.with_error_code(ErrorCode::ILLEGAL_SASL_STATE.0));
    };
    let reply = login.message(&request.auth_bytes, &cluster.config.users, &nonce, now);
    Answer::Now(match reply {
        Reply::Challenge(bytes) => response.with_auth_bytes(bytes),
        Reply::Welcome {
            bytes,
            principal,
            lifetime,
        } => {
            connection.principal = Some(principal);
            let response = response.with_auth_bytes(bytes);
            match lifetime {
                // KIP-368: version 0 has no word for it.
                Some(lifetime) if call.version >= 1 => response.with_session_lifetime_ms(lifetime),
                _ => response,
            }
        }
        Reply::Refused(why) => response
            .with_error_code(ErrorCode::SASL_AUTHENTICATION_FAILED.0)
            .with_error_message(Some(text(&why))),
    })
}
