// Suite pool in Go: goroutines and wait groups, results stored in slices.
package main

import (
	"runtime"
	"sync"
	"time"
)

var poolWorks = map[string]work{
	"submit-join.1m":     submitJoin,
	"par-map.10m-small":  func(quick bool) sample { return parMap(quick, false) },
	"par-map.into-slice": func(quick bool) sample { return parMap(quick, true) },
	"map.10k-50us":       longMap,
	"map.ordered-lazy":   lazyMap,
	"scope.borrow":       scopeBorrow,
	"idle.cpu":           idle,
}

func submitJoin(quick bool) sample {
	count := pick(quick, 1_000_000, 200_000)
	ran := 0
	took := timed(func() {
		results := make([]bool, count)
		var all sync.WaitGroup
		for i := range results {
			all.Add(1)
			go func() { results[i] = true; all.Done() }()
		}
		all.Wait()
		for _, result := range results {
			if result {
				ran++
			}
		}
	})
	check(ran == count, "each task ran once")
	return took.per(count, 1).and("cpu", float64(took.cpu.Nanoseconds())/float64(count))
}

const items = 10_000_000

var input = sync.OnceValue(func() []uint64 {
	all := make([]uint64, items)
	for i := range all {
		all[i] = uint64(i)
	}
	return all
})

func parMap(quick, existing bool) sample {
	from := input()[:pick(quick, items, items/2)]
	var to []uint64
	if existing {
		to = make([]uint64, len(from))
		for i := range to {
			to[i] = 1
		}
	}
	took := timed(func() {
		if !existing {
			to = make([]uint64, len(from))
		}
		part := (len(from) + runtime.NumCPU() - 1) / runtime.NumCPU()
		var all sync.WaitGroup
		for first := 0; first < len(from); first += part {
			last := min(first+part, len(from))
			all.Add(1)
			go func() {
				defer all.Done()
				for i := first; i < last; i++ {
					to[i] = smallHash(from[i])
				}
			}()
		}
		all.Wait()
	})
	for i, x := range from {
		check(to[i] == smallHash(x), "a wrong result")
	}
	result := took.per(len(from), 1)
	result.value *= items / 1e6
	return result
}

func longMap(quick bool) sample {
	const tasks = 10_000
	count, steps := pick(quick, tasks, tasks/10), stepsOf(50_000)
	results := make([]uint64, count)
	took := timed(func() {
		jobs := make(chan int, 64)
		var all sync.WaitGroup
		for w := 0; w < runtime.NumCPU(); w++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := range jobs {
					results[i] = grain(uint64(i), steps)
				}
			}()
		}
		for i := range results {
			jobs <- i
		}
		close(jobs)
		all.Wait()
	})
	for i := 0; i < count; i += 97 {
		check(results[i] == grain(uint64(i), steps), "a wrong result")
	}
	result := took.per(count, 1)
	result.value *= tasks / 1e6
	return result
}

// lazyMap keeps a window of promises in order: a channel of channels.
func lazyMap(quick bool) sample {
	type promise = chan uint64
	count := pick(quick, 300_000, 50_000)
	took := timed(func() {
		type job struct {
			item   uint64
			result promise
		}
		jobs, window := make(chan job, 64), make(chan promise, 64)
		for w := 0; w < runtime.NumCPU(); w++ {
			go func() {
				for j := range jobs {
					j.result <- smallHash(j.item)
				}
			}()
		}
		go func() {
			for i := 0; i < count; i++ {
				result := make(promise, 1)
				window <- result
				jobs <- job{uint64(i), result}
			}
			close(jobs)
			close(window)
		}()
		next := uint64(0)
		for result := range window {
			check(<-result == smallHash(next), "a wrong result, or out of order")
			next++
		}
		check(next == uint64(count), "one result an item")
	})
	return took.per(count, 1)
}

func scopeBorrow(quick bool) sample {
	times := pick(quick, 200, 40)
	from, to := make([]uint64, 1_000), make([]uint64, 1_000)
	for i := range from {
		from[i] = uint64(i)
	}
	took := timed(func() {
		for t := 0; t < times; t++ {
			clear(to)
			var all sync.WaitGroup
			for i := range from {
				all.Add(1)
				go func() { to[i] = smallHash(from[i]); all.Done() }()
			}
			all.Wait()
			for i, x := range from {
				check(to[i] == smallHash(x), "each task ran")
			}
		}
	})
	return took.per(times, 1e3)
}

func idle(quick bool) sample {
	jobs := make(chan struct{})
	for w := 0; w < runtime.NumCPU(); w++ {
		go func() {
			for range jobs {
			}
		}()
	}
	for i := 0; i < 1_000; i++ {
		jobs <- struct{}{}
	}
	time.Sleep(100 * time.Millisecond)
	took := timed(func() { time.Sleep(time.Duration(pick(quick, 1_000, 300)) * time.Millisecond) })
	close(jobs)
	return sample{value: took.cpu.Seconds() * 1e6 / took.wall.Seconds(), cores: took.cores()}
}
