//! What signalling, data packets and the server API have in common: `livekit_models.proto`, `livekit_metrics.proto`.

crate::messages! {
    DataPacket {
        kind: Log,
        participant_identity: EndUser,
        destination_identities: EndUser,
        value: Inner,
        sequence: Log,
        participant_sid: Log,
    }
    ClientInfo {
        sdk: Log,
        version: EndUser,
        protocol: Log,
        os: EndUser,
        os_version: EndUser,
        device_model: EndUser,
        browser: EndUser,
        browser_version: EndUser,
        address: EndUser,
        network: EndUser,
        other_sdks: EndUser,
        client_protocol: Log,
        capabilities: Log,
    }
    UserPacket {
        participant_sid: Log,
        participant_identity: EndUser,
        payload: CallContent,
        destination_sids: Log,
        destination_identities: EndUser,
        topic: EndUser,
        id: EndUser,
        start_time: Log,
        end_time: Log,
        nonce: EndUser,
    }
    ActiveSpeakerUpdate {
        speakers: Inner,
    }
    SipDtmf {
        code: CallContent,
        digit: CallContent,
    }
    Transcription {
        transcribed_participant_identity: EndUser,
        track_id: EndUser,
        segments: Inner,
    }
    MetricsBatch {
        timestamp_ms: Log,
        normalized_timestamp: Log,
        str_data: EndUser,
        time_series: Inner,
        events: Inner,
    }
    ChatMessage {
        id: EndUser,
        timestamp: Log,
        edit_timestamp: Log,
        message: CallContent,
        deleted: Log,
        generated: Log,
    }
    RpcRequest {
        id: EndUser,
        method: EndUser,
        payload: CallContent,
        response_timeout_ms: Log,
        version: Log,
        compressed_payload: CallContent,
    }
    RpcAck {
        request_id: EndUser,
    }
    RpcResponse {
        request_id: EndUser,
        value: Inner,
    }
    data_stream::Header {
        stream_id: EndUser,
        timestamp: Log,
        topic: EndUser,
        mime_type: EndUser,
        total_length: Log,
        encryption_type: Log,
        attributes: EndUser,
        content_header: Inner,
        inline_content: CallContent,
        compression: Log,
    }
    data_stream::Chunk {
        stream_id: EndUser,
        chunk_index: Log,
        content: CallContent,
        version: Log,
        iv: EndUser,
    }
    data_stream::Trailer {
        stream_id: EndUser,
        reason: EndUser,
        attributes: EndUser,
    }
    EncryptedPacket {
        encryption_type: Log,
        iv: EndUser,
        key_index: Log,
        encrypted_value: CallContent,
    }
    Room {
        sid: Log,
        name: EndUser,
        empty_timeout: Log,
        departure_timeout: Log,
        max_participants: Log,
        creation_time: Log,
        creation_time_ms: Log,
        turn_password: Credential,
        enabled_codecs: Inner,
        metadata: EndUser >= Pii,
        num_participants: Log,
        num_publishers: Log,
        active_recording: Log,
        version: Inner,
    }
    ParticipantInfo {
        sid: Log,
        identity: EndUser,
        state: Log,
        tracks: Inner,
        metadata: EndUser >= Pii,
        joined_at: Log,
        joined_at_ms: Log,
        name: EndUser >= Pii,
        version: Log,
        permission: Inner,
        region: Log,
        is_publisher: Log,
        kind: Log,
        attributes: EndUser >= Pii,
        disconnect_reason: Log,
        kind_details: Log,
        data_tracks: Inner,
        client_protocol: Log,
        capabilities: Log,
    }
    TrackInfo {
        sid: Log,
        r#type: Log,
        name: EndUser >= Pii,
        muted: Log,
        width: Log,
        height: Log,
        simulcast: Log,
        disable_dtx: Log,
        source: Log,
        layers: Inner,
        mime_type: EndUser,
        mid: EndUser,
        codecs: Inner,
        stereo: Log,
        disable_red: Log,
        encryption: Log,
        stream: EndUser,
        version: Inner,
        audio_features: Log,
        backup_codec_policy: Log,
        packet_trailer_features: Log,
    }
    ParticipantPermission {
        can_subscribe: Log,
        can_publish: Log,
        can_publish_data: Log,
        can_publish_sources: Log,
        hidden: Log,
        recorder: Log,
        can_update_metadata: Log,
        agent: Log,
        can_subscribe_metrics: Log,
        can_manage_agent_session: Log,
    }
    ParticipantTracks {
        participant_sid: Log,
        track_sids: Log,
    }
    VideoLayer {
        quality: Log,
        width: Log,
        height: Log,
        bitrate: Log,
        ssrc: Log,
        spatial_layer: Log,
        rid: EndUser,
        repair_ssrc: Log,
    }
    DataTrackFrameEncoding {
        value: Inner,
    }
    DataTrackSchemaId {
        name: EndUser,
        encoding: Inner,
    }
    DataBlob {
        key: Inner,
        contents: CallContent >= Pii,
    }
    DataBlobKey {
        key: Inner,
    }
    ClientConfiguration {
        video: Inner,
        screen: Inner,
        resume_connection: Log,
        disabled_codecs: Inner,
        force_relay: Log,
    }
    ServerInfo {
        edition: Public,
        version: Public,
        protocol: Public,
        region: Public,
        node_id: Public,
        debug_info: Log,
        agent_protocol: Public,
    }
    Codec {
        mime: EndUser,
        fmtp_line: EndUser,
    }
    SpeakerInfo {
        sid: Log,
        level: EndUser,
        active: Log,
    }
    SubscribedAudioCodec {
        codec: Log,
        enabled: Log,
    }
    DataTrackInfo {
        pub_handle: Log,
        sid: Log,
        name: EndUser,
        encryption: Log,
        frame_encoding: Inner,
        schema: Inner,
    }
    TranscriptionSegment {
        id: EndUser,
        text: CallContent,
        start_time: Log,
        end_time: Log,
        r#final: Log,
        language: EndUser,
    }
    TimeSeriesMetric {
        label: Log,
        participant_identity: EndUser,
        track_sid: Log,
        samples: Inner,
        rid: EndUser,
    }
    EventMetric {
        label: Log,
        participant_identity: EndUser,
        track_sid: Log,
        start_timestamp_ms: Log,
        end_timestamp_ms: Log,
        normalized_start_timestamp: Log,
        normalized_end_timestamp: Log,
        metadata: EndUser,
        rid: EndUser,
    }
    RpcError {
        code: Log,
        message: CallContent,
        data: CallContent,
    }
    data_stream::TextHeader {
        operation_type: Log,
        version: Log,
        reply_to_stream_id: EndUser,
        attached_stream_ids: EndUser,
        generated: Log,
    }
    data_stream::ByteHeader {
        name: EndUser,
    }
    WebhookConfig {
        url: Account,
        signing_key: Credential,
        filter_params: Inner,
    }
    TimedVersion {
        unix_micro: Log,
        ticks: Log,
    }
    SimulcastCodecInfo {
        mime_type: EndUser,
        mid: EndUser,
        cid: EndUser,
        layers: Inner,
        video_layer_mode: Log,
        sdp_cid: EndUser,
    }
    DataTrackSchemaEncoding {
        value: Inner,
    }
    DataTrackSubscriptionOptions {
        target_fps: Log,
    }
    VideoConfiguration {
        hardware_encoder: Log,
    }
    DisabledCodecs {
        codecs: Inner,
        publish: Inner,
    }
    MetricSample {
        timestamp_ms: Log,
        normalized_timestamp: Log,
        value: EndUser,
    }
    FilterParams {
        include_events: Log,
        exclude_events: Log,
    }
}

crate::choices! {
    data_packet::Value {
        User: Inner,
        Speaker: Inner,
        SipDtmf: Inner,
        Transcription: Inner,
        Metrics: Inner,
        ChatMessage: Inner,
        RpcRequest: Inner,
        RpcAck: Inner,
        RpcResponse: Inner,
        StreamHeader: Inner,
        StreamChunk: Inner,
        StreamTrailer: Inner,
        EncryptedPacket: Inner,
    }
    rpc_response::Value {
        Payload: CallContent,
        Error: Inner,
        CompressedPayload: CallContent,
    }
    data_stream::header::ContentHeader {
        TextHeader: Inner,
        ByteHeader: Inner,
    }
    data_track_frame_encoding::Value {
        WellKnown: Log,
        Custom: EndUser,
    }
    data_blob_key::Key {
        Generic: EndUser,
        SchemaId: Inner,
    }
    data_track_schema_encoding::Value {
        WellKnown: Log,
        Custom: EndUser,
    }
}
