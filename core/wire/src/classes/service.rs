//! What back ends ask of the server: `livekit_room.proto`, and what it takes from `livekit_egress.proto` and
//! `livekit_agent_dispatch.proto`.

crate::messages! {
    CreateRoomRequest {
        name: EndUser,
        room_preset: Account,
        empty_timeout: Log,
        departure_timeout: Log,
        max_participants: Log,
        node_id: Log,
        metadata: EndUser >= Pii,
        tags: EndUser,
        egress: Inner,
        min_playout_delay: Log,
        max_playout_delay: Log,
        sync_streams: Log,
        replay_enabled: Log,
        agents: Inner,
    }
    RoomEgress {
        room: Inner,
        participant: Inner,
        tracks: Inner,
    }
    RoomAgent {
        dispatches: Inner,
    }
    ListRoomsRequest {
        names: EndUser,
    }
    ListRoomsResponse {
        rooms: Inner,
    }
    DeleteRoomRequest {
        room: EndUser,
    }
    DeleteRoomResponse {}
    ListParticipantsRequest {
        room: EndUser,
    }
    ListParticipantsResponse {
        participants: Inner,
    }
    RoomParticipantIdentity {
        room: EndUser,
        identity: EndUser,
        revoke_token_ts: Log,
    }
    RemoveParticipantResponse {}
    MuteRoomTrackRequest {
        room: EndUser,
        identity: EndUser,
        track_sid: Log,
        muted: Log,
    }
    MuteRoomTrackResponse {
        track: Inner,
    }
    UpdateParticipantRequest {
        room: EndUser,
        identity: EndUser,
        metadata: EndUser >= Pii,
        permission: Inner,
        name: EndUser >= Pii,
        attributes: EndUser >= Pii,
    }
    UpdateSubscriptionsRequest {
        room: EndUser,
        identity: EndUser,
        track_sids: Log,
        subscribe: Log,
        participant_tracks: Inner,
    }
    UpdateSubscriptionsResponse {}
    SendDataRequest {
        room: EndUser,
        data: CallContent,
        kind: Log,
        destination_sids: Log,
        destination_identities: EndUser,
        topic: EndUser,
        nonce: EndUser,
    }
    SendDataResponse {}
    UpdateRoomMetadataRequest {
        room: EndUser,
        metadata: EndUser >= Pii,
    }
    RoomConfiguration {
        name: EndUser,
        empty_timeout: Log,
        departure_timeout: Log,
        max_participants: Log,
        metadata: EndUser >= Pii,
        egress: Inner,
        min_playout_delay: Log,
        max_playout_delay: Log,
        sync_streams: Log,
        agents: Inner,
        tags: EndUser,
    }
    ForwardParticipantRequest {
        room: EndUser,
        identity: EndUser,
        destination_room: EndUser,
    }
    ForwardParticipantResponse {}
    MoveParticipantRequest {
        room: EndUser,
        identity: EndUser,
        destination_room: EndUser,
    }
    MoveParticipantResponse {}
    PerformRpcRequest {
        room: EndUser,
        destination_identity: EndUser,
        method: EndUser,
        payload: CallContent,
        response_timeout_ms: Log,
    }
    PerformRpcResponse {
        payload: CallContent,
    }
    RoomAgentDispatch {
        agent_name: EndUser,
        metadata: EndUser >= Pii,
        restart_policy: Log,
        deployment: EndUser,
        attributes: EndUser >= Pii,
    }
    RoomCompositeEgressRequest {
        room_name: EndUser,
        layout: Account,
        audio_only: Log,
        audio_mixing: Log,
        video_only: Log,
        custom_base_url: Account,
        output: Inner,
        options: Inner,
        file_outputs: Inner,
        stream_outputs: Inner,
        segment_outputs: Inner,
        image_outputs: Inner,
        webhooks: Inner,
    }
    AutoParticipantEgress {
        options: Inner,
        file_outputs: Inner,
        segment_outputs: Inner,
    }
    AutoTrackEgress {
        filepath: Account,
        disable_manifest: Log,
        output: Inner,
    }
    EncodedFileOutput {
        file_type: Log,
        filepath: Account,
        disable_manifest: Log,
        output: Inner,
    }
    StreamOutput {
        protocol: Log,
        urls: Credential,
    }
    SegmentedFileOutput {
        protocol: Log,
        filename_prefix: Account,
        playlist_name: Account,
        live_playlist_name: Account,
        segment_duration: Log,
        filename_suffix: Log,
        disable_manifest: Log,
        output: Inner,
    }
    EncodingOptions {
        width: Log,
        height: Log,
        depth: Log,
        framerate: Log,
        audio_codec: Log,
        audio_bitrate: Log,
        audio_frequency: Log,
        video_codec: Log,
        video_bitrate: Log,
        key_frame_interval: Log,
        audio_quality: Log,
        video_quality: Log,
    }
    ImageOutput {
        capture_interval: Log,
        width: Log,
        height: Log,
        filename_prefix: Account,
        filename_suffix: Log,
        image_codec: Log,
        disable_manifest: Log,
        output: Inner,
    }
    S3Upload {
        access_key: Credential >= Secret,
        secret: Credential >= Secret,
        session_token: Credential >= Secret,
        assume_role_arn: Account >= Pii,
        assume_role_external_id: Credential >= Secret,
        region: Account,
        endpoint: Account,
        bucket: Account,
        force_path_style: Log,
        metadata: Account >= Pii,
        tagging: Account >= Pii,
        content_disposition: Account >= Pii,
        proxy: Inner,
    }
    GcpUpload {
        credentials: Credential >= Secret,
        bucket: Account,
        proxy: Inner,
    }
    AzureBlobUpload {
        account_name: Account >= Pii,
        account_key: Credential >= Secret,
        container_name: Account,
    }
    AliOssUpload {
        access_key: Credential >= Secret,
        secret: Credential >= Secret,
        region: Account,
        endpoint: Account,
        bucket: Account,
    }
    ProxyConfig {
        url: Account,
        username: Account,
        password: Credential >= Secret,
    }
}

crate::choices! {
    room_composite_egress_request::Output {
        File: Inner,
        Stream: Inner,
        Segments: Inner,
    }
    room_composite_egress_request::Options {
        Preset: Log,
        Advanced: Inner,
    }
    auto_participant_egress::Options {
        Preset: Log,
        Advanced: Inner,
    }
    auto_track_egress::Output {
        S3: Inner,
        Gcp: Inner,
        Azure: Inner,
        AliOss: Inner,
    }
    encoded_file_output::Output {
        S3: Inner,
        Gcp: Inner,
        Azure: Inner,
        AliOss: Inner,
    }
    segmented_file_output::Output {
        S3: Inner,
        Gcp: Inner,
        Azure: Inner,
        AliOss: Inner,
    }
    image_output::Output {
        S3: Inner,
        Gcp: Inner,
        Azure: Inner,
        AliOss: Inner,
    }
}
