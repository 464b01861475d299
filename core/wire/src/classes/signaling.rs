//! What clients and the server say to each other over the signalling connection: `livekit_rtc.proto`.

crate::messages! {
    SignalRequest {
        message: Inner,
    }
    SignalResponse {
        message: Inner,
    }
    WrappedJoinRequest {
        compression: Log,
        join_request: Credential,
    }
    JoinRequest {
        client_info: Inner,
        connection_settings: Inner,
        metadata: EndUser >= Pii,
        participant_attributes: EndUser >= Pii,
        add_track_requests: Inner,
        publisher_offer: Inner,
        reconnect: Log,
        reconnect_reason: Log,
        participant_sid: Log,
        sync_state: Inner,
    }
    SessionDescription {
        r#type: EndUser,
        sdp: Credential,
        id: Log,
        mid_to_track_id: EndUser,
    }
    TrickleRequest {
        candidate_init: EndUser,
        target: Log,
        r#final: Log,
    }
    AddTrackRequest {
        cid: EndUser,
        name: EndUser,
        r#type: Log,
        width: Log,
        height: Log,
        muted: Log,
        disable_dtx: Log,
        source: Log,
        layers: Inner,
        simulcast_codecs: Inner,
        sid: Log,
        stereo: Log,
        disable_red: Log,
        encryption: Log,
        stream: EndUser,
        backup_codec_policy: Log,
        audio_features: Log,
        packet_trailer_features: Log,
    }
    MuteTrackRequest {
        sid: Log,
        muted: Log,
    }
    UpdateSubscription {
        track_sids: Log,
        subscribe: Log,
        participant_tracks: Inner,
    }
    UpdateTrackSettings {
        track_sids: Log,
        disabled: Log,
        quality: Log,
        width: Log,
        height: Log,
        fps: Log,
        priority: Log,
    }
    LeaveRequest {
        can_reconnect: Log,
        reason: Log,
        action: Log,
        regions: Inner,
    }
    UpdateVideoLayers {
        track_sid: Log,
        layers: Inner,
    }
    SubscriptionPermission {
        all_participants: Log,
        track_permissions: Inner,
    }
    SyncState {
        answer: Inner,
        subscription: Inner,
        publish_tracks: Inner,
        data_channels: Inner,
        offer: Inner,
        track_sids_disabled: Log,
        datachannel_receive_states: Inner,
        publish_data_tracks: Inner,
        data_subscription: Inner,
    }
    SimulateScenario {
        scenario: Inner,
    }
    UpdateParticipantMetadata {
        metadata: EndUser >= Pii,
        name: EndUser >= Pii,
        attributes: EndUser >= Pii,
        request_id: Log,
    }
    Ping {
        timestamp: Log,
        rtt: EndUser,
    }
    UpdateLocalAudioTrack {
        track_sid: Log,
        features: Log,
    }
    UpdateLocalVideoTrack {
        track_sid: Log,
        width: Log,
        height: Log,
    }
    PublishDataTrackRequest {
        pub_handle: Log,
        name: EndUser,
        encryption: Log,
        frame_encoding: Inner,
        schema: Inner,
    }
    UnpublishDataTrackRequest {
        pub_handle: Log,
    }
    UpdateDataSubscription {
        updates: Inner,
    }
    StoreDataBlobRequest {
        request_id: Log,
        blob: Inner,
    }
    GetDataBlobRequest {
        request_id: Log,
        participant_identity: EndUser,
        key: Inner,
    }
    JoinResponse {
        room: Inner,
        participant: Inner,
        other_participants: Inner,
        server_version: Public,
        ice_servers: Inner,
        subscriber_primary: Log,
        alternative_url: Public,
        client_configuration: Inner,
        server_region: Public,
        ping_timeout: Log,
        ping_interval: Log,
        server_info: Inner,
        sif_trailer: Log,
        enabled_publish_codecs: Inner,
        fast_publish: Log,
    }
    ParticipantUpdate {
        participants: Inner,
    }
    TrackPublishedResponse {
        cid: EndUser,
        track: Inner,
    }
    SpeakersChanged {
        speakers: Inner,
    }
    RoomUpdate {
        room: Inner,
    }
    ConnectionQualityUpdate {
        updates: Inner,
    }
    StreamStateUpdate {
        stream_states: Inner,
    }
    SubscribedQualityUpdate {
        track_sid: Log,
        subscribed_qualities: Inner,
        subscribed_codecs: Inner,
    }
    SubscriptionPermissionUpdate {
        participant_sid: Log,
        track_sid: Log,
        allowed: Log,
    }
    TrackUnpublishedResponse {
        track_sid: Log,
    }
    ReconnectResponse {
        ice_servers: Inner,
        client_configuration: Inner,
        server_info: Inner,
        last_message_seq: Log,
    }
    Pong {
        last_ping_timestamp: Log,
        timestamp: Log,
    }
    SubscriptionResponse {
        track_sid: Log,
        err: Log,
    }
    RequestResponse {
        request_id: Log,
        reason: Log,
        message: Log,
        request: Inner,
    }
    TrackSubscribed {
        track_sid: Log,
    }
    RoomMovedResponse {
        room: Inner,
        token: Credential,
        participant: Inner,
        other_participants: Inner,
    }
    MediaSectionsRequirement {
        num_audios: Log,
        num_videos: Log,
    }
    SubscribedAudioCodecUpdate {
        track_sid: Log,
        subscribed_audio_codecs: Inner,
    }
    PublishDataTrackResponse {
        info: Inner,
    }
    UnpublishDataTrackResponse {
        info: Inner,
    }
    DataTrackSubscriberHandles {
        sub_handles: Inner,
    }
    StoreDataBlobResponse {
        request_id: Log,
        key: Inner,
    }
    GetDataBlobResponse {
        request_id: Log,
        blob: Inner,
    }
    ConnectionSettings {
        auto_subscribe: Log,
        adaptive_stream: Log,
        subscriber_allow_pause: Log,
        disable_ice_lite: Log,
        auto_subscribe_data_track: Log,
    }
    SimulcastCodec {
        codec: EndUser,
        cid: EndUser,
        layers: Inner,
        video_layer_mode: Log,
    }
    RegionSettings {
        regions: Inner,
    }
    TrackPermission {
        participant_sid: Log,
        all_tracks: Log,
        track_sids: Log,
        participant_identity: EndUser,
    }
    DataChannelInfo {
        label: EndUser,
        id: Log,
        target: Log,
    }
    DataChannelReceiveState {
        publisher_sid: Log,
        last_seq: Log,
    }
    update_data_subscription::Update {
        track_sid: Log,
        subscribe: Log,
        options: Inner,
    }
    IceServer {
        urls: Public,
        username: Credential >= Pii,
        credential: Credential >= Secret,
    }
    ConnectionQualityInfo {
        participant_sid: Log,
        quality: EndUser,
        score: EndUser,
    }
    StreamStateInfo {
        participant_sid: Log,
        track_sid: Log,
        state: Log,
    }
    SubscribedQuality {
        quality: Log,
        enabled: Log,
    }
    SubscribedCodec {
        codec: Log,
        qualities: Inner,
    }
    data_track_subscriber_handles::PublishedDataTrack {
        publisher_identity: EndUser,
        publisher_sid: Log,
        track_sid: Log,
    }
    RegionInfo {
        region: Public,
        url: Public,
        distance: Public,
    }
}

crate::choices! {
    signal_request::Message {
        Offer: Inner,
        Answer: Inner,
        Trickle: Inner,
        AddTrack: Inner,
        Mute: Inner,
        Subscription: Inner,
        TrackSetting: Inner,
        Leave: Inner,
        UpdateLayers: Inner,
        SubscriptionPermission: Inner,
        SyncState: Inner,
        Simulate: Inner,
        Ping: Log,
        UpdateMetadata: Inner,
        PingReq: Inner,
        UpdateAudioTrack: Inner,
        UpdateVideoTrack: Inner,
        PublishDataTrackRequest: Inner,
        UnpublishDataTrackRequest: Inner,
        UpdateDataSubscription: Inner,
        StoreDataBlobRequest: Inner,
        GetDataBlobRequest: Inner,
    }
    signal_response::Message {
        Join: Inner,
        Answer: Inner,
        Offer: Inner,
        Trickle: Inner,
        Update: Inner,
        TrackPublished: Inner,
        Leave: Inner,
        Mute: Inner,
        SpeakersChanged: Inner,
        RoomUpdate: Inner,
        ConnectionQuality: Inner,
        StreamStateUpdate: Inner,
        SubscribedQualityUpdate: Inner,
        SubscriptionPermissionUpdate: Inner,
        RefreshToken: Credential,
        TrackUnpublished: Inner,
        Pong: Log,
        Reconnect: Inner,
        PongResp: Inner,
        SubscriptionResponse: Inner,
        RequestResponse: Inner,
        TrackSubscribed: Inner,
        RoomMoved: Inner,
        MediaSectionsRequirement: Inner,
        SubscribedAudioCodecUpdate: Inner,
        PublishDataTrackResponse: Inner,
        UnpublishDataTrackResponse: Inner,
        DataTrackSubscriberHandles: Inner,
        StoreDataBlobResponse: Inner,
        GetDataBlobResponse: Inner,
    }
    simulate_scenario::Scenario {
        SpeakerUpdate: Log,
        NodeFailure: Log,
        Migration: Log,
        ServerLeave: Log,
        SwitchCandidateProtocol: Log,
        SubscriberBandwidth: Log,
        DisconnectSignalOnResume: Log,
        DisconnectSignalOnResumeNoMessages: Log,
        LeaveRequestFullReconnect: Log,
    }
    request_response::Request {
        Trickle: Inner,
        AddTrack: Inner,
        Mute: Inner,
        UpdateMetadata: Inner,
        UpdateAudioTrack: Inner,
        UpdateVideoTrack: Inner,
        PublishDataTrack: Inner,
        UnpublishDataTrack: Inner,
    }
}
