use proptest::prelude::*;

use super::*;

/// As recorded on Linux 6.18.
const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1479716061 3128163    0    0    0     0          0         0 1479716061 3128163    0    0    0     0       0          0
docker0: 5277348   82523    1    2    0     0          0         0  9425534  116929    3   77    0     0       0          0
eth0:1:      12       1    0    0    0     0          0         0        7       1    0    0    0     0       0          0
";

#[test]
fn net_dev_is_read_by_interface() {
    let all: Vec<_> = interfaces(NET_DEV).collect();
    let docker = Flow { bytes: 5_277_348, packets: 82_523, errors: 1, drops: 2 };
    let sent = Flow { bytes: 9_425_534, packets: 116_929, errors: 3, drops: 77 };
    assert_eq!(all[1], ("docker0", docker, sent));
    assert_eq!(all.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["lo", "docker0", "eth0:1"]);
}

#[test]
fn limits_of_both_versions() {
    assert_eq!(memory_limit("9223372036854771712\n"), Some(Limit::None));
    assert_eq!(memory_limit("max\n"), Some(Limit::None));
    assert_eq!(memory_limit("67108864\n"), Some(Limit::At(67_108_864)));
    assert_eq!(memory_limit("garbage"), None);
    assert_eq!(cpu_max("max 100000\n"), Some(Limit::None));
    assert_eq!(cpu_max("150000 100000\n"), Some(Limit::At(1.5)));
    assert_eq!(cpu_max("150000\n"), None);
    assert_eq!(cpu_quota("-1\n", "100000\n"), Some(Limit::None));
    assert_eq!(cpu_quota("33000\n", "100000\n"), Some(Limit::At(0.33)));
    assert_eq!(cpu_quota("33000\n", "0\n"), None);
}

#[test]
fn block_io_is_summed_over_the_disks_that_count() {
    let v1 = "8:0 Read 4096\n8:0 Write 1\n8:0 Sync 9\n8:0 Total 4097\n253:1 Read 4096\nTotal 8193\n";
    assert_eq!(block_v1(v1, |_| true), Some((8192, 1)));
    assert_eq!(block_v1(v1, |disk| disk != (253, 1)), Some((4096, 1)));
    assert_eq!(block_v1("Total 0\n", |_| true), None, "nothing is counted");
    assert_eq!(block_v1("8:0 Read x\n", |_| true), None);
    let v2 = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 \n253:0 rbytes=1\n";
    let expected = Block { read_bytes: 1_459_200, written_bytes: 314_773_504, reads: 192, writes: 353 };
    assert_eq!(block_v2(v2, |disk| disk.0 == 8), Some(expected));
    assert_eq!(block_v2("", |_| true), Some(Block::default()), "it never touched a disk");
}

#[test]
fn pressure_is_the_time_in_which_some_waited() {
    let text = "some avg10=0.85 avg60=1.82 avg300=1.70 total=322321175\nfull avg10=0.05 avg60=0.29 avg300=0.42 total=1\n";
    assert_eq!(pressure(text), Some(Duration::from_micros(322_321_175)));
    assert_eq!(pressure("full avg10=0.00 total=5\n"), None);
    assert_eq!(pressure(""), None);
}

#[test]
fn keys_with_and_without_a_colon() {
    let text = "MemTotal:       24684084 kB\nnr_periods 5\nnr_periods 6\nempty\n";
    assert_eq!(
        keyed(text, ["nr_periods", "MemTotal", "empty", "gone"]),
        [Some(5), Some(24_684_084), None, None]
    );
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "(some |cpu|[0-9]{1,3}:[0-9]{1,3}|Read|rbytes=|total=|eth0:|max|-| |\n|[0-9]{1,22}){0,40}") {
        let _ = (number(&text), memory_limit(&text), cpu_max(&text), cpu_quota(&text, &text), pressure(&text));
        let _ = (keyed(&text, ["some", "max"]), block_v1(&text, |_| true), block_v2(&text, |_| true));
        let sum = interfaces(&text).try_fold(Flow::default(), |sum, (_, rx, tx)| sum.plus(rx)?.plus(tx));
        let _ = sum;
    }

    #[test]
    fn a_key_is_a_whole_word(value in any::<u64>()) {
        let text = format!("total_inactive_file_x 1\nx total_inactive_file 2\ntotal_inactive_file {value}\n");
        prop_assert_eq!(keyed(&text, ["total_inactive_file"]), [Some(value)]);
    }

    #[test]
    fn what_was_written_is_read(numbers in proptest::array::uniform16(any::<u64>())) {
        let line = numbers.map(|number| number.to_string()).join(" ");
        let (name, rx, tx) = interfaces(&format!("  eth0: {line}\n")).next().map(|(n, r, t)| (n.to_owned(), r, t)).unwrap();
        prop_assert_eq!(name, "eth0");
        prop_assert_eq!(&[rx.bytes, rx.packets, rx.errors, rx.drops][..], &numbers[..4]);
        prop_assert_eq!(&[tx.bytes, tx.packets, tx.errors, tx.drops][..], &numbers[8..12]);
    }
}
