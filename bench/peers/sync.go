// Suite sync in Go: goroutines where the others have threads, channels where the others have queues.
package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

var syncWorks = map[string]work{
	"mutex.uncontended":            mutexAlone,
	"mutex.2threads":               func(quick bool) sample { return mutexAmong(2, quick) },
	"mutex.4threads":               func(quick bool) sample { return mutexAmong(4, quick) },
	"event.thread-thread":          eventPingPong,
	"event.thread-thread.free":     eventPingPong,
	"event.thread-thread.one-core": eventOneCore,
	"condvar.thread-thread":        condvarPingPong,
	"queue.bounded64.1x1":          func(quick bool) sample { return queue(64, 1, pick(quick, 400_000, 80_000)) },
	"queue.bounded64.4x4":          func(quick bool) sample { return queue(64, 4, pick(quick, 400_000, 80_000)) },
	"queue.rendezvous":             func(quick bool) sample { return queue(0, 1, pick(quick, 200_000, 40_000)) },
	"semaphore.2threads":           semaphore,
}

func mutexAlone(quick bool) sample {
	count := pick(quick, 4_000_000, 1_000_000)
	var lock sync.Mutex
	value := 0
	took := timed(func() {
		for i := 0; i < count; i++ {
			lock.Lock()
			value++
			lock.Unlock()
		}
	})
	check(value == count, "the lock lost updates")
	return took.per(count, 1)
}

// untilTimeIsOver runs body on that many goroutines; each asks before each operation and returns its count.
func untilTimeIsOver(threads int, quick bool, body func(over *atomic.Bool) int) (sample, int) {
	var over atomic.Bool
	var all sync.WaitGroup
	counts := make([]int, threads)
	took := timed(func() {
		for i := range counts {
			all.Add(1)
			go func() { defer all.Done(); counts[i] = body(&over) }()
		}
		time.Sleep(span(quick))
		over.Store(true)
		all.Wait()
	})
	total, slowest, fastest := 0, counts[0], counts[0]
	for _, count := range counts {
		total += count
		slowest, fastest = min(slowest, count), max(fastest, count)
	}
	result := took.per(total, 1).and("cpu", float64(took.cpu.Nanoseconds())/float64(total))
	return result.and("fairness", 100*float64(slowest)/float64(fastest)), total
}

func mutexAmong(threads int, quick bool) sample {
	var lock sync.Mutex
	value, steps := 0, stepsOf(50)
	result, total := untilTimeIsOver(threads, quick, func(over *atomic.Bool) int {
		count, outside := 0, uint64(0)
		for !over.Load() {
			lock.Lock()
			value++
			outside ^= grain(uint64(value), steps)
			lock.Unlock()
			count++
			outside = grain(outside, steps)
		}
		atomic.AddUint64(&sink, outside)
		return count
	})
	check(value == total, "the lock lost updates")
	return result
}

func semaphore(quick bool) sample {
	permit := make(chan struct{}, 1)
	value, steps := 0, stepsOf(50)
	result, total := untilTimeIsOver(2, quick, func(over *atomic.Bool) int {
		count, outside := 0, uint64(0)
		for !over.Load() {
			permit <- struct{}{}
			value++
			outside ^= grain(uint64(value), steps)
			<-permit
			count++
			outside = grain(outside, steps)
		}
		atomic.AddUint64(&sink, outside)
		return count
	})
	check(value == total, "the semaphore let two in")
	return result
}

func roundTrips(took spent, here, there int) sample {
	check(here == there, "both sides count the same round trips")
	return took.per(here, 1e3).and("cpu", float64(took.cpu.Nanoseconds())/float64(here)/1e3)
}

func eventPingPong(quick bool) sample {
	ping, pong := make(chan bool, 1), make(chan bool, 1)
	here, there := 0, 0
	var other sync.WaitGroup
	took := timed(func() {
		other.Add(1)
		go func() {
			defer other.Done()
			for <-ping {
				there++
				pong <- true
			}
		}()
		for begin := time.Now(); time.Since(begin) < span(quick); {
			for i := 0; i < 16; i++ {
				ping <- true
				<-pong
			}
			here += 16
		}
		ping <- false
		other.Wait()
	})
	return roundTrips(took, here, there)
}

func eventOneCore(quick bool) sample {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	return eventPingPong(quick)
}

func condvarPingPong(quick bool) sample {
	var lock sync.Mutex
	changed := sync.NewCond(&lock)
	turn, over := 0, false
	counts := [2]int{}
	side := func(me int) {
		begin := time.Now()
		for {
			enough := me == 0 && counts[0]%16 == 0 && time.Since(begin) >= span(quick)
			lock.Lock()
			for turn != me {
				changed.Wait()
			}
			over = over || enough
			stop := over
			turn = 1 - me
			lock.Unlock()
			changed.Signal()
			if stop {
				return
			}
			counts[me]++
		}
	}
	var other sync.WaitGroup
	took := timed(func() {
		other.Add(1)
		go func() { defer other.Done(); side(1) }()
		side(0)
		other.Wait()
	})
	return roundTrips(took, counts[0], counts[1])
}

func queue(bound, lanes, count int) sample {
	values := make(chan uint64, bound)
	each := count / lanes
	sums := make([]uint64, lanes)
	var all sync.WaitGroup
	took := timed(func() {
		for lane := range sums {
			all.Add(2)
			go func() {
				defer all.Done()
				for i := 0; i < each; i++ {
					values <- uint64(lane*each + i)
				}
			}()
			go func() {
				defer all.Done()
				sum := uint64(0)
				for i := 0; i < each; i++ {
					sum += <-values
				}
				sums[lane] = sum
			}()
		}
		all.Wait()
	})
	sent, sum := uint64(each*lanes), uint64(0)
	for _, one := range sums {
		sum += one
	}
	check(sum == sent*(sent-1)/2, "a value was lost or came twice")
	return took.per(int(sent), 1)
}
