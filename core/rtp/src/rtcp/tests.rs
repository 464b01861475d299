//! What the wire says, both ways, and what must be refused.

use proptest::prelude::*;

use super::*;
use crate::limits::REPORT_BLOCKS_MAX;
use crate::nack::Nack;

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x0102_0304,
    fraction_lost: 0x80,
    cumulative_lost: 0x00_1234,
    extended_highest: 0x0001_ffff,
    jitter: 7,
    last_sender_report: 0x3344_5566,
    delay_since_last_sender_report: 0x1_0000,
};
const REPORT: SenderReport = SenderReport {
    ssrc: 0x4d61_7273,
    ntp: NtpTime(0x4e54_5031_4e54_5032),
    rtp_timestamp: 0x5254_5020,
    packets: 1066,
    octets: 59696,
};

/// What `write` writes into ample room.
fn written(write: impl FnOnce(&mut CompoundWriter<'_>)) -> Vec<u8> {
    let mut buffer = [0xcc; 1500];
    let mut writer = CompoundWriter::new(&mut buffer);
    write(&mut writer);
    let len = writer.len();
    buffer[..len].to_vec()
}

fn only(compound: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let mut walk = packets(compound);
    let first = walk.next().unwrap();
    assert_eq!(walk.next(), None);
    first
}

#[test]
fn the_sender_report_of_rfc_7714_17_reads() {
    // The RFC's packet, with its block cut off and the count and length set to none.
    let bytes = [
        0x80, 0xc8, 0, 6, 0x4d, 0x61, 0x72, 0x73, 0x4e, 0x54, 0x50, 0x31, 0x4e, 0x54, 0x50, 0x32,
        0x52, 0x54, 0x50, 0x20, 0, 0, 4, 0x2a, 0, 0, 0xe9, 0x30,
    ];
    let Ok(RtcpPacket::SenderReport(report, blocks)) = only(&bytes) else { panic!() };
    assert_eq!((report, blocks.iter().count()), (REPORT, 0));
    assert_eq!(written(|writer| writer.sender_report(&REPORT, &[]).unwrap()), bytes);
}

#[test]
fn a_compound_reads_as_it_was_written() {
    let items = [Nack { pid: 65535, blp: 0b101 }, Nack { pid: 40, blp: 0 }];
    let compound = written(|writer| {
        writer.sender_report(&REPORT, &[BLOCK]).unwrap();
        writer.receiver_report(9, &[BLOCK, BLOCK]).unwrap();
        writer.cname(9, b"someone").unwrap();
        assert_eq!(writer.nack(9, 77, &items), Ok(2));
        writer.transport_feedback(9, 77, &[1, 2, 3, 4]).unwrap();
        writer.picture_loss(9, 77).unwrap();
        writer.full_intra(9, 77, 5).unwrap();
        writer.bye(&[9, 10]).unwrap();
    });
    let mut walk = packets(&compound).map(Result::unwrap);
    let mut next = || walk.next().unwrap();

    let RtcpPacket::SenderReport(report, blocks) = next() else { panic!() };
    assert_eq!((report, blocks.iter().collect::<Vec<_>>()), (REPORT, vec![BLOCK]));
    let RtcpPacket::ReceiverReport { ssrc: 9, blocks } = next() else { panic!() };
    assert_eq!(blocks.iter().collect::<Vec<_>>(), [BLOCK, BLOCK]);
    assert_eq!(next(), RtcpPacket::Other { packet_type: 202, count: 1 });
    let RtcpPacket::Nack(nacks) = next() else { panic!() };
    assert_eq!((nacks.sender_ssrc, nacks.media_ssrc), (9, 77));
    assert_eq!(nacks.items().collect::<Vec<_>>(), items);
    assert_eq!(nacks.sequence_numbers().collect::<Vec<_>>(), [65535, 0, 2, 40]);
    let feedback = TransportFeedback { sender_ssrc: 9, media_ssrc: 77, fci: &[1, 2, 3, 4] };
    assert_eq!(next(), RtcpPacket::TransportFeedback(feedback));
    assert_eq!(next(), RtcpPacket::PictureLoss { sender_ssrc: 9, media_ssrc: 77 });
    let RtcpPacket::FullIntraRequest(request) = next() else { panic!() };
    let entry = FullIntraEntry { ssrc: 77, sequence: 5 };
    assert_eq!(request.entries().collect::<Vec<_>>(), [entry]);
    let RtcpPacket::Bye(ssrcs) = next() else { panic!() };
    assert_eq!(ssrcs.iter().collect::<Vec<_>>(), [9, 10]);
    assert_eq!(walk.next(), None);
}

#[test]
fn every_packet_is_as_on_the_wire() {
    let check = |bytes: Vec<u8>, expected: &[u8]| assert_eq!(bytes, expected);
    check(
        written(|writer| writer.picture_loss(0x0a0b_0c0d, 0x0102_0304).unwrap()),
        &[0x81, 206, 0, 2, 10, 11, 12, 13, 1, 2, 3, 4],
    );
    check(
        written(|writer| writer.full_intra(0x0a0b_0c0d, 0x0102_0304, 9).unwrap()),
        &[0x84, 206, 0, 4, 10, 11, 12, 13, 0, 0, 0, 0, 1, 2, 3, 4, 9, 0, 0, 0],
    );
    check(
        written(|writer| {
            writer.nack(0x0a0b_0c0d, 0x0102_0304, &[Nack { pid: 0x1122, blp: 0x8001 }]).unwrap();
        }),
        &[0x81, 205, 0, 3, 10, 11, 12, 13, 1, 2, 3, 4, 0x11, 0x22, 0x80, 0x01],
    );
    check(
        written(|writer| writer.cname(0x0102_0304, b"ab").unwrap()),
        &[0x81, 202, 0, 3, 1, 2, 3, 4, 1, 2, b'a', b'b', 0, 0, 0, 0],
    );
    check(
        written(|writer| writer.cname(0x0102_0304, b"a").unwrap()),
        &[0x81, 202, 0, 2, 1, 2, 3, 4, 1, 1, b'a', 0],
    );
    check(written(|writer| writer.bye(&[0x0102_0304]).unwrap()), &[0x81, 203, 0, 1, 1, 2, 3, 4]);
    check(
        written(|writer| writer.transport_feedback(1, 2, &[5; 4]).unwrap()),
        &[0x8f, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 5, 5, 5, 5],
    );
    check(
        written(|writer| writer.receiver_report(0x0102_0304, &[]).unwrap()),
        &[0x80, 201, 0, 1, 1, 2, 3, 4],
    );
}

#[test]
fn a_receivers_estimate_reads() {
    let mut bytes = vec![0x8f, 206, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0];
    bytes.extend(b"REMB");
    // One stream, exponent 3, mantissa 0x20001.
    bytes.extend([1, 3 << 2 | 0x02, 0x00, 0x01, 0, 0, 0, 77]);
    let Ok(RtcpPacket::Remb(remb)) = only(&bytes) else { panic!() };
    assert_eq!((remb.sender_ssrc, remb.bitrate), (9, 0x20001 << 3));
    assert_eq!(remb.ssrcs.iter().collect::<Vec<_>>(), [77]);
    bytes[17] = 0xff;
    let Ok(RtcpPacket::Remb(remb)) = only(&bytes) else { panic!() };
    assert_eq!(remb.bitrate, u64::MAX);
    bytes[16] = 2;
    assert_eq!(only(&bytes), Err(RtcpError::Short { packet_type: 206 }));
    bytes[12] = b'X';
    assert_eq!(only(&bytes), Ok(RtcpPacket::Other { packet_type: 206, count: 15 }));
}

#[test]
fn a_bye_with_a_reason_names_its_streams_alone() {
    let bytes = [0x81, 203, 0, 2, 0, 0, 0, 9, 3, b'b', b'y', b'e'];
    let Ok(RtcpPacket::Bye(ssrcs)) = only(&bytes) else { panic!() };
    assert_eq!(ssrcs.iter().collect::<Vec<_>>(), [9]);
}

#[test]
fn padding_is_removed_and_impossible_padding_skipped() {
    let mut bytes = vec![0xaf, 205, 0, 4, 0, 0, 0, 9, 0, 0, 0, 77, 1, 2, 3, 4, 5, 0, 0, 3];
    let feedback = TransportFeedback { sender_ssrc: 9, media_ssrc: 77, fci: &[1, 2, 3, 4, 5] };
    assert_eq!(only(&bytes), Ok(RtcpPacket::TransportFeedback(feedback)));
    bytes.extend([0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 77]);
    for padding in [0, 17, 255] {
        bytes[19] = padding;
        let read: Vec<_> = packets(&bytes).collect();
        let loss = RtcpPacket::PictureLoss { sender_ssrc: 9, media_ssrc: 77 };
        assert_eq!(read, [Err(RtcpError::Padding(padding)), Ok(loss)]);
    }
}

#[test]
fn broken_framing_ends_the_walk() {
    let whole = written(|writer| {
        writer.receiver_report(9, &[BLOCK]).unwrap();
        writer.picture_loss(9, 77).unwrap();
    });
    for len in 1..whole.len() {
        let read: Vec<_> = packets(&whole[..len]).collect();
        match len {
            32 => assert!(matches!(read[..], [Ok(_)])),
            1..32 => assert_eq!(read, [Err(RtcpError::PastEnd)], "{len}"),
            _ => assert!(matches!(read[..], [Ok(_), Err(RtcpError::PastEnd)]), "{len}"),
        }
    }
    let mut version = whole;
    version[32] = 0x41;
    let read: Vec<_> = packets(&version).collect();
    assert!(matches!(read[..], [Ok(_), Err(RtcpError::Version(1))]));
}

#[test]
fn a_packet_shorter_than_its_type_promises_is_skipped() {
    let loss = [0x81, 206, 0, 2, 0, 0, 0, 9, 0, 0, 0, 77];
    for (first, packet_type) in
        [(0x80, 200), (0x81, 201), (0x82, 203), (0x81, 205), (0x8f, 205), (0x81, 206), (0x84, 206)]
    {
        let bytes = [&[first, packet_type, 0, 1, 0, 0, 0, 1], &loss[..]].concat();
        let read: Vec<_> = packets(&bytes).collect();
        let expected = RtcpPacket::PictureLoss { sender_ssrc: 9, media_ssrc: 77 };
        assert_eq!(read, [Err(RtcpError::Short { packet_type }), Ok(expected)]);
    }
}

#[test]
fn what_does_not_fit_is_not_written() {
    let items = [Nack { pid: 1, blp: 0 }; 4];
    for room in 0..24 {
        let mut buffer = vec![0; room];
        let mut writer = CompoundWriter::new(&mut buffer);
        assert_eq!(writer.receiver_report(9, &[BLOCK]), Err(NoRoom));
        assert_eq!(writer.sender_report(&REPORT, &[]), Err(NoRoom));
        assert!(writer.is_empty());
        let fits = room.saturating_sub(12) / 4;
        assert_eq!(writer.nack(9, 7, &items), if fits == 0 { Err(NoRoom) } else { Ok(fits) });
        assert_eq!(writer.nack(9, 7, &[]), Ok(0));
    }
    let mut buffer = [0; 1500];
    let mut writer = CompoundWriter::new(&mut buffer);
    assert_eq!(writer.cname(1, &[b'x'; 256]), Err(NoRoom));
    assert_eq!(writer.transport_feedback(1, 2, &[0; 3]), Err(NoRoom));
    assert!(writer.is_empty());
    writer.receiver_report(1, &[BLOCK; 40]).unwrap();
    assert_eq!(writer.len(), 8 + REPORT_BLOCKS_MAX * ReportBlock::LEN);
}

/// Reads everything that a packet offers; returns how much that was.
fn exhaust(compound: &[u8]) -> usize {
    let of = |packet: RtcpPacket<'_>| match packet {
        RtcpPacket::SenderReport(_, blocks) | RtcpPacket::ReceiverReport { blocks, .. } => {
            blocks.iter().count()
        }
        RtcpPacket::Bye(ssrcs) => ssrcs.iter().count(),
        RtcpPacket::Nack(nacks) => nacks.items().count(),
        RtcpPacket::TransportFeedback(feedback) => feedback.fci.len() / 4,
        RtcpPacket::FullIntraRequest(request) => request.entries().count(),
        RtcpPacket::Remb(remb) => remb.ssrcs.iter().count(),
        RtcpPacket::PictureLoss { .. } | RtcpPacket::Other { .. } => 0,
    };
    packets(compound).map(|packet| 1 + packet.map_or(0, of)).sum()
}

proptest! {
    #[test]
    fn any_bytes_yield_no_more_than_one_thing_per_four(
        bodies in proptest::collection::vec(
            (any::<u8>(), 198u8..208, proptest::collection::vec(any::<u8>(), 0..60)), 0..12,
        ),
        tail in proptest::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut compound = Vec::new();
        for (first, packet_type, mut body) in bodies {
            body.resize(body.len().next_multiple_of(4), 0);
            let words = u8::try_from(body.len() / 4).unwrap();
            compound.extend([0x80 | (first & 0x3f), packet_type, 0, words]);
            compound.extend(body);
        }
        compound.extend(tail);
        prop_assert!(exhaust(&compound) <= compound.len().div_ceil(4));
        for at in 0..compound.len().min(40) {
            compound[at] ^= 0x55;
            exhaust(&compound);
        }
    }

    #[test]
    fn any_nack_reads_back(pairs in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..100)) {
        let items: Vec<Nack> = pairs.into_iter().map(|(pid, blp)| Nack { pid, blp }).collect();
        let compound = written(|writer| assert_eq!(writer.nack(1, 2, &items), Ok(items.len())));
        let Ok(RtcpPacket::Nack(nacks)) = only(&compound) else { panic!() };
        prop_assert_eq!(nacks.items().collect::<Vec<_>>(), items);
    }
}
