//! Our pickle against CPython's, against those who would have it run something, and against bytes that are none.

#![cfg(feature = "redis")]

use ropewalk_jobs::rq::data;
use ropewalk_jobs::rq::pickle::{DEPTH_MAX, Document, INPUT_BYTES_MAX, INT_BYTES_MAX, NODES_MAX, Writer};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The JSON of a pickle, or why there is none.
fn json(pickle: &[u8]) -> Result<String, String> {
    Document::read(pickle).and_then(|document| document.to_json(document.root())).map_err(|problem| problem.to_string())
}

fn pickled(json: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.json(json).unwrap();
    writer.finish()
}

/// What the script answers to this input. Hashes of texts are the same in every run, and so is the order of sets.
fn python(arguments: &[&str], input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pickle/corpus.py");
    let mut child = Command::new("python3")
        .arg(script)
        .args(arguments)
        .env("PYTHONHASHSEED", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test compares with CPython: apt-get install python3");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // The script may end before it has read everything.
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    assert!(output.status.success(), "corpus.py {arguments:?} failed: look above");
    String::from_utf8(output.stdout).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What a row of the table must give.
enum Gives {
    Json(&'static str),
    Refused(&'static str),
}
use Gives::{Json, Refused};

/// Every opcode: its code, a pickle in which it decides, and what that gives.
#[rustfmt::skip]
const OPCODES: &[(u8, &[u8], Gives)] = &[
    // Protocol 0
    (b'(', b"(I1\nI2\nt.", Json("[1,2]")),
    (b'.', b"N.N", Json("null")),
    (b'0', b"NI1\n0.", Json("null")),
    (b'2', b"(2t.", Refused("more than was put there")),
    (b'2', b"(I1\n2t.", Json("[1,1]")),
    (b'F', b"F-1.5\n.", Json("-1.5")),
    (b'F', b"Fnan\n.", Refused("the float NaN")),
    (b'F', b"Fx\n.", Refused("a float that is none")),
    (b'I', b"I-17\n.", Json("-17")),
    (b'I', b"I01\n.", Json("true")),
    (b'I', b"I00\n.", Json("false")),
    (b'I', b"I0x1\n.", Refused("an int that is none")),
    (b'L', b"L-170141183460469231731687303715884105728L\n.", Json("-170141183460469231731687303715884105728")),
    (b'L', b"L007L\n.", Json("7")),
    (b'N', b"N.", Json("null")),
    (b'P', b"P17\n.", Refused("outside of the pickle, `17`")),
    (b'R', b"c__builtin__\nset\n((lI1\natR.", Json("[1]")),
    (b'R', b"cos\nsystem\n(S'true'\ntR.", Refused("an object of `os.system`")),
    (b'S', b"S'a\\'\\n\\x41\\101'\n.", Json("\"a'\\nAA\"")),
    (b'S', b"S\"a'\n.", Refused("without its quotes")),
    (b'S', b"S'\\xff'\n.", Refused("Python 2 that is not ASCII")),
    (b'V', b"Va\\u00e9\xe9\\U0001f600\\\\u0041\n.", Json("\"a\u{e9}\u{e9}\u{1f600}\\\\\\\\u0041\"")),
    (b'V', b"V\\ud800\n.", Refused("lone surrogate")),
    (b'a', b"(lI1\na.", Json("[1]")),
    (b'a', b"NI1\na.", Refused("appends to None")),
    (b'b', b"capp\nUser\n)\x81}b.", Refused("an object of `app.User`")),
    (b'b', b"}}b.", Refused("a dict with a state of its own")),
    (b'b', b"cuuid\nUUID\n)\x81}(S'int'\nI5\nub.", Json("\"00000000-0000-0000-0000-000000000005\"")),
    (b'c', b"cos\nsystem\n.", Refused("the function or class `os.system`")),
    (b'd', b"(S'a'\nI1\nd.", Json("{\"a\":1}")),
    (b'd', b"(S'a'\nd.", Refused("a key and no value")),
    (b'g', b"(I7\np3\ng3\nt.", Json("[7,7]")),
    (b'g', b"g3\n.", Refused("was not kept")),
    (b'i', b"(I1\niapp\nUser\n.", Refused("an object of `app.User`")),
    (b'l', b"(I1\nI2\nl.", Json("[1,2]")),
    (b'p', b"I7\npx\n.", Refused("a place that is no number")),
    (b'p', b"I7\np4000000000\n0g4000000000\n.", Json("7")),
    (b's', b"(dS'a'\nI1\ns.", Json("{\"a\":1}")),
    (b's', b"(lI1\nI1\ns.", Refused("sets items of a list")),
    (b't', b"(t.", Json("[]")),
    (b't', b"t.", Refused("without its mark")),
    // Protocol 1
    (b'1', b"N(I1\nI2\n1.", Json("null")),
    (b'J', b"J\xff\xff\xff\xff.", Json("-1")),
    (b'K', b"K\xff.", Json("255")),
    (b'M', b"M\xff\xff.", Json("65535")),
    (b'Q', b"K\x01Q.", Refused("outside of the pickle")),
    (b'T', b"T\x02\x00\x00\x00ab.", Json("\"ab\"")),
    (b'U', b"U\x02ab.", Json("\"ab\"")),
    (b'X', b"X\x02\x00\x00\x00\xc3\xa9.", Json("\"\u{e9}\"")),
    (b'X', b"X\x03\x00\x00\x00\xed\xa0\x80.", Refused("lone surrogate")),
    (b'X', b"X\xff\xff\xff\xffab.", Refused("ends too early")),
    (b'}', b"}.", Json("{}")),
    (b'e', b"](K\x01K\x02e.", Json("[1,2]")),
    (b'h', b"(K\x07q\x03h\x03t.", Json("[7,7]")),
    (b'j', b"(K\x07r\x03\x00\x01\x00j\x03\x00\x01\x00t.", Json("[7,7]")),
    (b']', b"].", Json("[]")),
    (b'o', b"(capp\nUser\nK\x01o.", Refused("an object of `app.User`")),
    (b'o', b"(o.", Refused("without its class")),
    (b'q', b"K\x07q\x030h\x03.", Json("7")),
    (b'r', b"K\x07r\xff\xff\xff\xff0j\xff\xff\xff\xff.", Json("7")),
    (b')', b").", Json("[]")),
    (b'u', b"}(U\x01aK\x01K\x02K\x03u.", Json("{\"a\":1,\"2\":3}")),
    (b'G', b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Json("1.5")),
    (b'G', b"G\x7f\xf0\x00\x00\x00\x00\x00\x00.", Refused("the float inf")),
    // Protocol 2
    (0x80, b"\x80\x05N.", Json("null")),
    (0x80, b"\x80\x06N.", Refused("protocol 6")),
    (0x81, b"\x80\x02capp\nUser\n)\x81.", Refused("an object of `app.User`")),
    (0x82, b"\x80\x02\x82\x05.", Refused("the number 5 of `copyreg`")),
    (0x83, b"\x80\x02\x83\x05\x01.", Refused("the number 261 of `copyreg`")),
    (0x84, b"\x80\x02\x84\x05\x00\x00\x01.", Refused("the number 16777221 of `copyreg`")),
    (0x85, b"K\x01\x85.", Json("[1]")),
    (0x86, b"K\x01K\x02\x86.", Json("[1,2]")),
    (0x87, b"K\x01K\x02K\x03\x87.", Json("[1,2,3]")),
    (0x87, b"K\x01(K\x02K\x03\x87.", Refused("more than was put there")),
    (0x88, b"\x88.", Json("true")),
    (0x89, b"\x89.", Json("false")),
    (0x8a, b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.", Json("18446744073709551616")),
    (0x8a, b"\x8a\x00.", Json("0")),
    (0x8b, b"\x8b\x02\x00\x00\x00\x00\x80.", Json("-32768")),
    // Protocol 3
    (b'B', b"B\x02\x00\x00\x00\x00\xff.", Json("[0,255]")),
    (b'C', b"C\x02\x00\xff.", Json("[0,255]")),
    // Protocol 4
    (0x8c, b"\x8c\x02\xc3\xa9.", Json("\"\u{e9}\"")),
    (0x8d, b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", Json("\"a\"")),
    (0x8d, b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", Refused("ends too early")),
    (0x8e, b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", Json("[97]")),
    (0x8f, b"\x8f.", Json("[]")),
    (0x90, b"\x8f(K\x01K\x02\x90.", Json("[1,2]")),
    (0x91, b"(K\x01K\x02\x91.", Json("[1,2]")),
    (0x92, b"capp\nUser\n)}\x92.", Refused("an object of `app.User`")),
    (0x93, b"\x8c\x02os\x8c\x06system\x93.", Refused("the function or class `os.system`")),
    (0x93, b"K\x01K\x02\x93.", Refused("whose name is no text")),
    (0x94, b"(K\x07\x94h\x00t.", Json("[7,7]")),
    (0x95, b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", Json("null")),
    // Protocol 5
    (0x96, b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", Json("[97]")),
    (0x97, b"\x97.", Refused("a buffer that was sent beside")),
    (0x98, b"C\x01a\x98.", Json("[97]")),
];

#[test]
fn every_opcode_of_every_protocol() {
    let known = python(&["opcodes"], "");
    let known: BTreeSet<u8> = known.split_whitespace().map(|code| u8::from_str_radix(code, 16).unwrap()).collect();
    let tried: BTreeSet<u8> = OPCODES.iter().map(|row| row.0).collect();
    assert_eq!(tried, known, "the table, and what CPython has");
    for (code, pickle, gives) in OPCODES {
        assert!(pickle.contains(code), "{pickle:?} is there for {code:#x}");
        let got = json(pickle);
        match gives {
            Json(wanted) => assert_eq!(got.as_deref(), Ok(*wanted), "{code:#x}"),
            Refused(why) => {
                assert!(got.as_ref().is_err_and(|said| said.contains(why)), "{code:#x}: {got:?}, and not {why}")
            }
        }
    }
    // And no other byte is one.
    for code in (0..=u8::MAX).filter(|code| !known.contains(code)) {
        assert!(json(&[code, b'.']).unwrap_err().contains("an opcode that does not exist"), "{code:#x}");
    }
}

#[test]
fn whatever_cpython_writes_is_read_and_what_we_write_it_loads() {
    /// Enough for each kind of value in each protocol many times.
    const VALUES: usize = 3_000;
    let seed = std::env::var("ROPEWALK_PICKLE_SEED").unwrap_or_else(|_| "1".to_owned());
    let count = VALUES.to_string();
    let made = python(&["make", &seed, &count], "");
    let answers: String = made
        .lines()
        .map(|line| match json(&unhex(line)) {
            Ok(json) => format!("{json}\t{}\n", hex(&pickled(&json))),
            Err(why) => format!("{why}\n"),
        })
        .collect();
    assert_eq!(python(&["check", &seed, &count], &answers), format!("ok {VALUES}\n"));
}

/// Pickles that make CPython run something: the shapes that people publish. `CANARY` is a file that the code would make, and
/// where the second is true CPython does make it.
#[rustfmt::skip]
const EXPLOITS: &[(&str, bool, &[u8])] = &[
    ("the classic", true, b"cos\nsystem\n(S'touch CANARY'\ntR."),
    ("under its real module", true, b"cposix\nsystem\n(S'touch CANARY'\ntR."),
    ("as bytes of protocol 4", true, b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch CANARY\x85R."),
    ("behind an honest value", true, b"\x80\x04(K\x01\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch CANARY\x85Rt."),
    ("thrown away after it ran", true, b"\x80\x04cos\nsystem\n(S'touch CANARY'\ntR0N."),
    ("eval", true, b"cbuiltins\neval\n(S'__import__(\"os\").system(\"touch CANARY\")'\ntR."),
    ("eval of Python 2", true, b"c__builtin__\neval\n(S'__import__(\"os\").system(\"touch CANARY\")'\ntR."),
    ("exec", true, b"cbuiltins\nexec\n(S'import os; os.system(\"touch CANARY\")'\ntR."),
    ("a pipe", true, b"cos\npopen\n(S'touch CANARY'\ntR."),
    ("a process", true, b"csubprocess\ncheck_output\n((lS'touch'\naS'CANARY'\natR."),
    ("a process by its constructor", true, b"csubprocess\nPopen\n((lS'touch'\naS'CANARY'\natR."),
    ("a process as a new object", true, b"(S'touch'\nS'CANARY'\nlp0\n0csubprocess\ncheck_call\n(g0\ntR."),
    ("INST", true, b"(S'touch CANARY'\nios\nsystem\n."),
    ("OBJ", true, b"(cos\nsystem\nS'touch CANARY'\no."),
    ("getattr to get there", true, b"cbuiltins\ngetattr\n(cos\n__dict__\nS'get'\ntR(S'system'\ntR(S'touch CANARY'\ntR."),
    ("a dotted name", true, b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x27__import__('os').system('touch CANARY')\x85R."),
    ("a name below a module", true, b"\x80\x04\x8c\x05shlex\x8c\x09os.system\x93\x8c\x0ctouch CANARY\x85R."),
    ("map, which waits until it is asked", true, b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n(S'touch CANARY'\nltRtR."),
    ("code of the interpreter of the test", true, b"ccode\nInteractiveInterpreter\n(tRp0\n0cbuiltins\ngetattr\n(g0\nS'runcode'\ntR(S'import os; os.system(\"touch CANARY\")'\ntR."),
    ("a timer of timeit", true, b"ctimeit\ntimeit\n(S'None'\nS'import os; os.system(\"touch CANARY\")'\nI1\ntR."),
    ("a profile", true, b"ccProfile\nrun\n(S'import os; os.system(\"touch CANARY\")'\nNI0\ntR."),
    ("a file that is opened for writing", true, b"cbuiltins\nopen\n(S'CANARY'\nS'w'\ntR."),
    ("a pickle in a pickle", true, b"cpickle\nloads\n(c_codecs\nencode\n(Vcos\\u000asystem\\u000a(S'touch CANARY'\\u000atR.\nS'latin1'\ntRtR."),
    ("a state with a setter", true, b"cfunctools\npartial\n(cos\nsystem\ntRp0\n(cos\nsystem\n(S'touch CANARY'\nt(dNtb(tR."),
    ("with a broken end", true, b"cos\nsystem\n(S'touch CANARY'\ntRR\xff"),
    ("a factory that is kept by name", false, b"ccollections\ndefaultdict\n(cos\nsystem\ntR."),
    ("a persistent id", false, b"Pos.system('touch CANARY')\n."),
    ("a persistent id that is a value", false, b"(cos\nsystem\nS'touch CANARY'\ntQ."),
    ("an extension", false, b"\x80\x02\x82\x01(S'touch CANARY'\ntR."),
    ("a new object with keywords", false, b"\x80\x04cos\nsystem\n(S'touch CANARY'\nt}\x92."),
    ("a new object", false, b"\x80\x02cos\nsystem\n(S'touch CANARY'\nt\x81."),
    ("a zone that calls", false, b"cbuiltins\ngetattr\n(czoneinfo\nZoneInfo\nS'__init_subclass__'\ntR."),
    ("a reconstructor", false, b"ccopyreg\n_reconstructor\n(cos\nsystem\ncbuiltins\nobject\nNtR."),
];

#[test]
fn nothing_is_run_that_cpython_would_run() {
    let directory = std::env::temp_dir().join(format!("ropewalk-pickle-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    for (name, runs, pickle) in EXPLOITS {
        let canary = directory.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        // Of six letters, as the counts before some of the texts say; it is looked for where the process stands.
        let ours = json(pickle);
        assert!(!Path::new("CANARY").exists(), "{name}: it ran");
        if !matches!(ours, Ok(ref json) if json == "null" || json == "{}") {
            let said = ours.unwrap_err();
            assert!(said.contains("only plain data is read") || said.contains("a pickle that"), "{name}: {said}");
        }
        // As the arguments of a job, its function is known all the same.
        let mut job = b"\x80\x04(\x8c\x09app.thumbN(".to_vec();
        job.extend(&pickle[..pickle.len() - 1]);
        job.extend(b"t}t.");
        if let Ok(job) = data::read(&job) {
            assert_eq!(job.function, "app.thumb", "{name}");
        }
        assert!(!Path::new("CANARY").exists(), "{name}: it ran");

        // That the bytes are what they are said to be.
        std::fs::create_dir_all(&canary).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pickle/corpus.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg("load")
            .current_dir(&canary)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(hex(pickle).as_bytes()).unwrap();
        child.wait().unwrap();
        // A pipe and a process of their own may end after Python does.
        let mut seen = canary.join("CANARY").exists();
        for _ in 0..200 {
            if seen || !runs {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            seen = canary.join("CANARY").exists();
        }
        assert_eq!(seen, *runs, "{name}: what CPython does with it");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn what_is_opaque_says_where_it_is_and_leaves_the_rest_readable() {
    let job = b"\x80\x04(\x8c\x09app.thumbN(K\x07}\x8c\x04user]capp.models\nUser\n)\x81}bast}t.";
    let job = data::read(job).unwrap();
    assert_eq!(job.function, "app.thumb");
    let said = job.arguments.unwrap_err().to_string();
    assert!(said.starts_with("value[1]['user'][0] is an object of `app.models.User`: only plain data"), "{said}");
}

#[test]
fn a_method_with_its_object_is_refused_by_name() {
    for job in [&b"\x80\x04(\x8c\x04send(capp\nMail\no)}t."[..], br#"["send", {"a": 1}, [], {}]"#] {
        let job = data::read(job).unwrap();
        assert_eq!(job.function, "send");
        assert!(job.arguments.unwrap_err().to_string().contains("a method that was enqueued with its object"));
    }
}

#[test]
fn bombs_stay_under_the_limits() {
    // Deep, in lists, tuples, dicts, and calls; its end must not recurse either.
    for (open, close) in [(&b"]"[..], &b"a"[..]), (b"(", b"t"), (b"}N", b"s"), (b"ccollections\ndeque\n(", b"tR")] {
        let mut pickle = open.repeat(200_000);
        pickle.push(b'N');
        pickle.extend(close.repeat(200_000));
        pickle.push(b'.');
        let said = json(&pickle).unwrap_err();
        assert!(said.contains("nested deeper than 512") || said.contains("only plain data"), "{said}");
    }
    let nested = |depth: usize| [&b"]".repeat(depth)[..], &b"a".repeat(depth - 1), b"."].concat();
    assert!(json(&nested(DEPTH_MAX)).is_ok());
    assert!(json(&nested(DEPTH_MAX + 1)).unwrap_err().contains("nested deeper"));
    let text = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(Writer::new().json(&text(DEPTH_MAX)).is_ok());
    assert!(Writer::new().json(&text(DEPTH_MAX + 1)).unwrap_err().to_string().contains("nested deeper"));

    // Shared: each holds the one before it twice.
    let mut pickle = b"]\x94".to_vec();
    for at in 0..60u8 {
        pickle.extend([b']', 0x94, b'(', b'h', at, b'h', at, b'e']);
    }
    pickle.push(b'.');
    let said = json(&pickle).unwrap_err();
    assert!(said.contains("counting what is shared each time"), "{said}");
    // The same twice is no bomb.
    assert_eq!(json(b"(](K\x01e\x94h\x00t.").as_deref(), Ok("[[1],[1]]"));

    // It contains itself.
    let said = json(b"]\x94h\x00a.").unwrap_err();
    assert!(said.contains("contains itself"), "{said}");

    // A long text, again and again.
    let mut pickle = b"(X\x00\x00\x10\x00".to_vec();
    pickle.extend(vec![b'a'; 1 << 20]);
    pickle.push(0x94);
    pickle.extend(b"h\x00".repeat(1_000));
    pickle.extend(b"t.");
    assert!(json(&pickle).unwrap_err().contains("bytes when written as JSON"));
    // What is said of a time in a zone that cannot be read, said of the next one, and so on.
    let mut pickle = b"\x80\x04cdatetime\ndatetime\n\x940C\x0a\x07\xea\x01\x01\0\0\0\0\0\0\x940ca\nb\n\x940".to_vec();
    pickle.extend(b"h\0h\x01h\x02\x86Rq\x020".repeat(4_000));
    pickle.extend(b"h\x02.");
    let said = json(&pickle).unwrap_err();
    assert!(said.len() < 1_000, "{} bytes: {said:.200}", said.len());
    // A long number, again and again.
    let mut pickle = b"(cdecimal\nDecimal\n\x94X\x00\x10\x00\x00".to_vec();
    pickle.extend(vec![b'7'; 4_096]);
    pickle.push(0x94);
    pickle.extend(b"h\x00h\x01\x85R".repeat(20_000));
    pickle.extend(b"t.");
    assert!(json(&pickle).unwrap_err().contains("makes more than"));
    // Bytes made of it, again and again.
    let mut pickle = b"(c_codecs\nencode\n\x94(X\x00\x00\x10\x00".to_vec();
    pickle.extend(vec![b'a'; 1 << 20]);
    pickle.extend(b"X\x06\x00\x00\x00latin1t\x94R");
    pickle.extend(b"h\x00h\x01R".repeat(1_000));
    pickle.extend(b"t.");
    assert!(json(&pickle).unwrap_err().contains("makes more than"));
    // Lists made of a long one, again and again.
    let mut pickle = b"(cbuiltins\nset\n\x94(](".to_vec();
    pickle.extend(b"N".repeat(10_000));
    pickle.extend(b"et\x94R");
    pickle.extend(b"h\x00h\x01R".repeat(1_000));
    pickle.extend(b"t.");
    assert!(json(&pickle).unwrap_err().contains("more than 1000000 values"));

    // An integer whose digits would take minutes.
    let mut pickle = vec![0x8b];
    pickle.extend(((INT_BYTES_MAX + 1) as u32).to_le_bytes());
    pickle.extend(vec![0x7f; INT_BYTES_MAX + 1]);
    pickle.push(b'.');
    assert!(json(&pickle).unwrap_err().contains("an int of more than"));
    assert!(json(format!("I{}\n.", "9".repeat(4_000)).as_bytes()).unwrap_err().contains("an int of more than"));

    // Too many, and too long.
    let mut pickle = b"(".to_vec();
    pickle.extend(b"N".repeat(NODES_MAX));
    pickle.extend(b"t.");
    assert!(json(&pickle).unwrap_err().contains("more than 1000000 values"));
    assert!(json(&vec![b'N'; INPUT_BYTES_MAX + 1]).unwrap_err().contains("is the limit"));
    assert!(
        json(&[&b"N"[..], &b"2".repeat(NODES_MAX), b"."].concat()).unwrap_err().contains("more than 1000000 values")
    );
    assert!(
        json(&[&b"("[..], &b"(1".repeat(NODES_MAX), b"."].concat()).unwrap_err().contains("more than 1000000 values")
    );
}

#[test]
fn what_inflates_too_much_is_not_read() {
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    let deflated = |bytes: &[u8]| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let said = |bytes: &[u8]| data::read(bytes).unwrap_err().to_string();
    assert!(
        said(&deflated(&vec![0; 8 << 20])).contains("more than 250 times"),
        "{}",
        said(&deflated(&vec![0; 8 << 20]))
    );
    let mut noise = fastrand::Rng::with_seed(1);
    let mixed: Vec<u8> = (0..20 << 20).map(|at| if at % 8 == 0 { noise.u8(..) } else { 0 }).collect();
    assert!(said(&deflated(&mixed)).contains("more than 16777216 bytes"));
    // Zeros that are no bomb, and what is not deflated at all.
    let job = format!("[\"f\", null, [\"{}\"], {{}}]", "0".repeat(900_000));
    assert_eq!(data::read(&deflated(job.as_bytes())).unwrap().function, "f");
    assert_eq!(data::read(job.as_bytes()).unwrap().function, "f");
    for none in [&b""[..], b"x", b"\x78\x9c", b"\x80\x04N.", b"[1,2,3]", b"[\"f\",null,[]]", b"\x80\x04(NNNNt."] {
        assert!(data::read(none).is_err(), "{none:?}");
    }
}

#[test]
fn jobs_and_results_both_ways() {
    use data::Serializer;
    for serializer in [Serializer::Pickle, Serializer::Json] {
        for payload in ["[]", "[7,\"a\"]", "{\"args\":[7],\"kwargs\":{\"size\":200,\"b\":[1.5,null]}}"] {
            let bytes = data::write(serializer, "app.tasks.thumb", payload).unwrap();
            let job = data::read(&bytes).unwrap();
            assert_eq!(
                (job.serializer, job.function.as_str(), job.arguments.as_deref()),
                (serializer, "app.tasks.thumb", Ok(payload))
            );
            assert_eq!(job.payload(), payload);
        }
        for value in ["true", "7", "-1.5", "\"a\\n\u{e9}\"", "[1,[2,{\"a\":null}]]", "18446744073709551616"] {
            let field = data::return_value(serializer, value).unwrap().unwrap();
            assert_eq!(data::read_return_value(serializer, Some(field.as_bytes())).as_deref(), Ok(value));
        }
        assert_eq!(data::return_value(serializer, "null"), Ok(None));
        assert_eq!(data::read_return_value(serializer, None).as_deref(), Ok("null"));
        assert!(data::write(serializer, "f", "{\"unreadable\":\"a lock\"}").is_err());
        assert!(data::write_value(Serializer::Pickle, "1e999").is_err());
    }
    // Known constants of rq.
    assert_eq!(data::return_value(Serializer::Pickle, "true").unwrap().as_deref(), Some("gASILg=="));
    assert_eq!(data::return_value(Serializer::Pickle, "7").unwrap().as_deref(), Some("gARLBy4="));
    assert_eq!(
        data::description("app.f", "{\"args\":[1,\"a\"],\"kwargs\":{\"z\":1,\"b\":2}}"),
        "app.f(1, \"a\", b=2, z=1)"
    );
}

/// Pickles that were changed a little, the same ones in each run: whatever they are, there is an answer, and what is read can
/// be written and read again. The gate tries a million (`ROPEWALK_PICKLE_INPUTS`).
#[test]
fn a_million_broken_pickles() {
    /// So many threads, each with dice of its own.
    const THREADS: u64 = 4;
    let inputs: u64 = std::env::var("ROPEWALK_PICKLE_INPUTS").map_or(20_000, |count| count.parse().unwrap());
    let mut seeds: Vec<Vec<u8>> = OPCODES.iter().map(|row| row.1.to_vec()).collect();
    seeds.extend(EXPLOITS.iter().map(|row| row.2.to_vec()));
    seeds.extend(python(&["make", "fuzz", "300"], "").lines().map(unhex).filter(|pickle| pickle.len() < 400));
    seeds.push(pickled("{\"a\":[1,-2.5,true,null,\"text\",{\"b\":[[],{}]}],\"c\":123456789012345678901234567890}"));
    let read: u64 = std::thread::scope(|scope| {
        let seeds = &seeds;
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || broken(seeds, thread, inputs / THREADS))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    });
    println!("{inputs} inputs: {read} read, {} refused", inputs - read);
    // If hardly any were read, or all, the mutations were of no use.
    assert!(read > inputs / 20 && read < inputs - inputs / 20, "{read} read of {inputs}");
}

/// Reads as many of them; how many could be read.
fn broken(seeds: &[Vec<u8>], thread: u64, inputs: u64) -> u64 {
    let codes: Vec<u8> = OPCODES.iter().map(|row| row.0).collect();
    let mut dice = fastrand::Rng::with_seed(0x0072_6f70_6577_616c + thread);
    let mut read = 0;
    let mut bytes = Vec::new();
    for _ in 0..inputs {
        bytes.clear();
        bytes.extend(&seeds[dice.usize(..seeds.len())]);
        for _ in 0..dice.usize(1..5) {
            mutate(&mut bytes, seeds, &codes, &mut dice);
        }
        match json(&bytes) {
            Ok(text) => {
                read += 1;
                // A timedelta of millenniums has more digits than a float; from then on it is one.
                let again = json(&pickled(&text)).unwrap();
                assert_eq!(json(&pickled(&again)).as_ref(), Ok(&again), "of {}", hex(&bytes));
            }
            Err(said) => assert!(!said.is_empty() && said.len() < 2_000, "{said}"),
        }
        if let Ok(job) = data::read(&bytes) {
            drop(job.payload());
        }
    }
    read
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], codes: &[u8], dice: &mut fastrand::Rng) {
    if bytes.is_empty() {
        bytes.push(b'.');
        return;
    }
    let at = dice.usize(..bytes.len());
    match dice.u8(..8) {
        0 => bytes[at] ^= 1 << dice.u8(..8),
        1 => bytes[at] = dice.u8(..),
        2 => bytes[at] = codes[dice.usize(..codes.len())],
        3 => bytes.insert(at, codes[dice.usize(..codes.len())]),
        4 => {
            bytes.remove(at);
        }
        5 => bytes.truncate(at),
        6 => {
            // A piece of another one.
            let other = &seeds[dice.usize(..seeds.len())];
            let from = dice.usize(..other.len());
            let to = (from + dice.usize(..16)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let piece = bytes[at..(at + dice.usize(1..16)).min(bytes.len())].to_vec();
            bytes.extend(piece);
        }
    }
}
