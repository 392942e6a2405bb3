//! Jobs of several sources, whatever the number of threads.

use std::sync::mpsc::{Receiver, channel};

use super::*;

/// A pool that no other test uses, with so many threads.
fn pool_of(threads: usize) -> Arc<Pool> {
    let pool = Pool { shared: Arc::default(), threads: Mutex::default() };
    pool.shared.threads.store(threads, Ordering::SeqCst);
    for number in 0..threads {
        let shared = Arc::clone(&pool.shared);
        let thread = spawn(&format!("spice-enc-{number}"), move || shared.work(number)).unwrap();
        pool.threads.lock().unwrap().push(thread);
    }
    Arc::new(pool)
}

fn source(pool: &Arc<Pool>) -> (Source, Receiver<()>) {
    let (told, done) = channel();
    let told = Mutex::new(told);
    (pool.source(move || told.lock().unwrap().send(()).unwrap_or(())), done)
}

#[test]
fn every_promise_is_kept() {
    for threads in [1, 3] {
        let pool = pool_of(threads);
        let (source, done) = source(&pool);
        let mut promises = Vec::new();
        for n in 0..1000u64 {
            match source.submit(move |_| n * n) {
                Ok(promise) => promises.push((n, promise)),
                Err(work) => assert_eq!(work(&mut Scratch::default()), n * n),
            }
        }
        promises.iter().for_each(|_| done.recv().unwrap());
        for (n, promise) in promises {
            assert_eq!(promise.progress(), Progress::Done(&(n * n)));
        }
    }
}

/// A job that ends when it is told to, and says when it begins.
fn block(source: &Source) -> (Promise<()>, Receiver<()>, std::sync::mpsc::Sender<()>) {
    let (go, gate) = channel::<()>();
    let (begin, begun) = channel::<()>();
    let work = move |_: &mut Scratch| {
        begin.send(()).unwrap();
        gate.recv().unwrap_or(());
    };
    (source.submit(work).ok().unwrap(), begun, go)
}

#[test]
fn sources_have_their_turns() {
    let pool = pool_of(1);
    let (busy, _) = source(&pool);
    let (other, _) = source(&pool);
    let (promise, begun, go) = block(&busy);
    begun.recv().unwrap();
    let (log, order) = channel();
    let add = |source: &Source, name: u32| {
        let log = log.clone();
        source.submit(move |_| log.send(name).unwrap()).ok().unwrap()
    };
    let _promises: Vec<_> =
        (0..10).map(|n| add(&busy, n)).chain((100..103).map(|n| add(&other, n))).collect();
    go.send(()).unwrap();
    let order: Vec<u32> = order.iter().take(13).collect();
    let last = order.iter().position(|n| *n == 102).unwrap();
    assert!(last <= 6, "the second source's jobs came late: {order:?}");
    let own: Vec<u32> = order.iter().copied().filter(|n| *n < 100).collect();
    assert_eq!(own, (0..10).collect::<Vec<_>>());
    drop(promise);
}

#[test]
fn what_nobody_waits_for_is_not_done() {
    let pool = pool_of(1);
    let (source, done) = source(&pool);
    let (promise, begun, go) = block(&source);
    begun.recv().unwrap();
    let dropped = source.submit(|_| panic!("nobody wants it")).ok().unwrap();
    drop::<Promise<()>>(dropped);
    let kept = source.submit(|_| 7).ok().unwrap();
    go.send(()).unwrap();
    (0..2).for_each(|_| done.recv().unwrap());
    assert_eq!(kept.progress(), Progress::Done(&7));
    assert_eq!(promise.progress(), Progress::Done(&()));
}

#[test]
fn a_full_queue_hands_back_and_a_job_can_be_done_by_who_waits() {
    let pool = pool_of(1);
    let (source, _done) = source(&pool);
    let (_promise, begun, go) = block(&source);
    begun.recv().unwrap();
    let waiting: Vec<_> = (0..QUEUE).map(|n| source.submit(move |_| n).ok().unwrap()).collect();
    assert!(source.submit(|_| 0).is_err());
    let mut scratch = Scratch::default();
    assert!(waiting[5].help(&mut scratch));
    assert!(!waiting[5].help(&mut scratch));
    assert_eq!(waiting[5].progress(), Progress::Done(&5));
    assert_eq!(waiting[6].progress(), Progress::Working);
    go.send(()).unwrap();
}

#[test]
fn a_panic_costs_one_job() {
    let pool = pool_of(1);
    let (source, done) = source(&pool);
    let bad = source.submit(|_| -> u8 { panic!("on purpose") }).ok().unwrap();
    let good = source.submit(|_| 1u8).ok().unwrap();
    (0..2).for_each(|_| done.recv().unwrap());
    assert_eq!(bad.progress(), Progress::Failed);
    assert_eq!(good.progress(), Progress::Done(&1));
}

#[test]
fn the_process_has_one_pool_whose_threads_come_and_go() {
    let first = pool();
    assert!(Arc::ptr_eq(&first, &pool()));
    let count = || {
        let threads = first.threads.lock().unwrap();
        threads.iter().filter(|thread| !thread.is_finished()).count()
    };
    set_threads(3);
    assert_eq!(count(), 3);
    set_threads(1);
    while count() > 1 {
        std::thread::yield_now();
    }
    set_threads(2);
    assert_eq!(count(), 2);
    let (source, done) = source(&first);
    let promise = source.submit(|_| 1u8).ok().unwrap();
    done.recv().unwrap();
    assert_eq!(promise.progress(), Progress::Done(&1));
    set_threads(0);
}

#[test]
fn guarded_work_that_panics_leaves_fresh_memory() {
    let mut scratch = Scratch::default();
    assert_eq!(guarded(&mut scratch, |_| 3), Some(3));
    let spoil = |scratch: &mut Scratch| -> u8 {
        let pixels: Vec<u8> = (0..40_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
        let picture = crate::pool::Picture {
            data: &pixels,
            width: 200,
            height: 200,
            bits: 32,
            stride: 800,
            top_down: true,
            format: 8,
        };
        let pixels = crate::pool::LzPixels::Rgb32;
        assert!(crate::pool::encode_lz(&picture, pixels, 1 << 20, &mut scratch.lz).is_some());
        assert!(scratch.lz.capacity() > 0);
        panic!("on purpose")
    };
    assert_eq!(guarded(&mut scratch, spoil), None);
    assert_eq!(scratch.lz.capacity(), 0);
}
