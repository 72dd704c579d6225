//! Atoms that the boundary uses.

rustler::atoms! {
    ok,
    error,
    undefined,
    badarg,
    closed,
    timeout,
    dirty,
    wait,
    no_ack,
    bad_option,
    infinity,
    yes = "true",
    no = "false",
    all,

    // messages
    brod_reply,
    brod_acks,
    brod_nacks,
    brod_room,
    brod_down,
    brod_request_sent,
    brod_fetch_error,
    brod_group,

    // records of brod.hrl
    kafka_message,
    kafka_message_set,
    brod_call_ref,
    brod_produce_reply,
    brod_produce_req_acked,
    producer_down,
    create,
    append,

    // reasons
    not_retriable,
    produce_response_error,
    reached_max_retries,
    delivery_timeout,
    encoding_failed,
    client_down,
    econnrefused,
    nxdomain,
    etimedout,
    not_kafka,
    unsupported_api,
    protocol_error,
    corrupt_message,
    io_error,

    // messages as users give them
    key,
    value,
    ts,
    headers,
}
