// Suite greenlet in Go: goroutines. Each sample is a process of its own; `go:1p` is started with GOMAXPROCS=1.
package main

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var greenletWorks = map[string]work{
	"yield.1":        func(quick bool) sample { return yields(1, quick) },
	"yield.2":        func(quick bool) sample { return yields(2, quick) },
	"yield.1000":     func(quick bool) sample { return yields(1000, quick) },
	"spawn-join":     spawnJoin,
	"park.100k":      func(bool) sample { return park(100_000) },
	"park.1m":        func(quick bool) sample { return park(pick(quick, 1_000_000, 200_000)) },
	"queue.pingpong": pingPong,
	"kill":           kill,
}

func init() {
	if !oneThread {
		greenletWorks["hubs.2"] = hubs
		// `serve` does these; a server has one core anyway.
		greenletWorks["echo.50"], greenletWorks["echo.1000"] = nil, nil
	}
	syncWorks["event.greenlet-greenlet"] = eventBetweenGoroutines
	syncWorks["event.thread-greenlet"] = eventWithThread
}

var oneThread = runtime.GOMAXPROCS(0) == 1

// A muster is where goroutines assemble and wait to be let go.
type muster struct {
	arrived sync.WaitGroup
	gate    chan struct{}
}

func musterOf(count int) *muster {
	m := &muster{gate: make(chan struct{})}
	m.arrived.Add(count)
	return m
}

func (m *muster) wait() {
	m.arrived.Done()
	<-m.gate
}

var turns uint64

func yields(strands int, quick bool) sample {
	each := pick(quick, 2_000_000, 300_000) / strands
	m := musterOf(strands)
	var all sync.WaitGroup
	var switched, total atomic.Uint64
	for s := 0; s < strands; s++ {
		all.Add(1)
		go func() {
			defer all.Done()
			m.wait()
			count := uint64(0)
			for i := 0; i < each; i++ {
				if oneThread {
					turns++
					mine := turns
					runtime.Gosched()
					if turns != mine {
						count++
					}
				} else {
					runtime.Gosched()
				}
			}
			switched.Add(count)
			total.Add(uint64(each))
		}()
	}
	m.arrived.Wait()
	took := timed(func() { close(m.gate); all.Wait() })
	check(total.Load() == uint64(each*strands), "each goroutine yielded so often")
	if oneThread && strands > 1 {
		check(switched.Load() >= total.Load()/5*2, "too few yields let another goroutine run")
	}
	return took.per(each*strands, 1)
}

func spawnJoin(quick bool) sample {
	const batch = 1_000
	count := pick(quick, 500_000, 100_000)
	sum, batches := uint64(0), uint64(0)
	// Go has no handles: a goroutine is joined through a wait group and leaves its result in a variable.
	oneByOne := func(count int) {
		var one sync.WaitGroup
		var result uint64
		for i := 0; i < count; i++ {
			one.Add(1)
			go func() { result = uint64(i); one.Done() }()
			one.Wait()
			sum += result
		}
	}
	oneByOne(batch)
	sum = 0
	took := timed(func() { oneByOne(count) })
	batched := timed(func() {
		results := make([]uint64, batch)
		for first := 0; first < count; first += batch {
			var all sync.WaitGroup
			for i := range results {
				all.Add(1)
				go func() { results[i] = uint64(first + i); all.Done() }()
			}
			all.Wait()
			for _, result := range results {
				batches += result
			}
		}
	})
	check(sum == sumBelow(count) && batches == sumBelow(count), "each goroutine gave its number back")
	return took.per(count, 1).and("batch", float64(batched.wall.Nanoseconds())/float64(count))
}

func sumBelow(count int) uint64 { return uint64(count) * uint64(count-1) / 2 }

func residentBytes() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	kib := 0
	for _, line := range strings.Split(string(status), "\n") {
		if words := strings.Fields(line); len(words) == 3 && (words[0] == "VmRSS:" || words[0] == "VmPTE:") {
			number, err := strconv.Atoi(words[1])
			if err != nil {
				panic(err)
			}
			kib += number
		}
	}
	return float64(kib) * 1024
}

func park(count int) sample {
	m := musterOf(count)
	var all sync.WaitGroup
	var sum atomic.Uint64
	before := residentBytes()
	spawning := timed(func() {
		all.Add(count)
		for i := 0; i < count; i++ {
			go func() {
				m.wait()
				sum.Add(uint64(i))
				all.Done()
			}()
		}
		m.arrived.Wait()
	})
	bytes := residentBytes() - before
	waking := timed(func() { close(m.gate); all.Wait() })
	check(sum.Load() == sumBelow(count), "each goroutine ended")
	both := spent{spawning.wall + waking.wall, spawning.cpu + waking.cpu}
	per := func(s spent) float64 { return float64(s.wall.Nanoseconds()) / float64(count) }
	return sample{cores: both.cores()}.and("spawn", per(spawning)).and("bytes", bytes/float64(count)).and("wake", per(waking))
}

func pingPong(quick bool) sample {
	count := pick(quick, 500_000, 100_000)
	there, back := make(chan uint64, 1), make(chan uint64, 1)
	go func() {
		for i := 0; i < count; i++ {
			back <- <-there + 1
		}
	}()
	sum := uint64(0)
	took := timed(func() {
		for i := 0; i < count; i++ {
			there <- uint64(i)
			sum += <-back
		}
	})
	check(sum == sumBelow(count)+uint64(count), "each number came back, with one added")
	return took.per(count, 1)
}

// kill is Go's idiom for it: a context for each goroutine, and the end is waited for.
func kill(quick bool) sample {
	const victims = 1_000
	rounds := pick(quick, 20, 5)
	var dropped atomic.Uint64
	var took spent
	for r := 0; r < rounds; r++ {
		var arrived sync.WaitGroup
		arrived.Add(victims)
		cancels, ends := make([]context.CancelFunc, victims), make([]chan struct{}, victims)
		for i := range cancels {
			ctx, cancel := context.WithCancel(context.Background())
			end := make(chan struct{})
			cancels[i], ends[i] = cancel, end
			go func() {
				defer close(end)
				defer dropped.Add(1)
				arrived.Done()
				<-ctx.Done()
			}()
		}
		arrived.Wait()
		one := timed(func() {
			for i, cancel := range cancels {
				cancel()
				<-ends[i]
			}
		})
		took = spent{took.wall + one.wall, took.cpu + one.cpu}
	}
	check(dropped.Load() == uint64(rounds*victims), "each was killed and dropped what it had")
	return took.per(rounds*victims, 1e3)
}

// hubs is two processors against one, the same rounds as the others'.
func hubs(quick bool) sample {
	const strands = 100
	run := func(processors int) (float64, spent) {
		runtime.GOMAXPROCS(processors)
		counts := make([]int, processors)
		took := timed(func() {
			var workers sync.WaitGroup
			for w := range counts {
				workers.Add(1)
				go func() {
					defer workers.Done()
					for begin := time.Now(); time.Since(begin) < span(quick); counts[w]++ {
						var all sync.WaitGroup
						var sum atomic.Uint64
						for s := 0; s < strands; s++ {
							all.Add(1)
							go func() {
								defer all.Done()
								for i := 0; i < 8; i++ {
									runtime.Gosched()
								}
								sum.Add(uint64(s))
							}()
						}
						all.Wait()
						check(sum.Load() == sumBelow(strands), "each goroutine of a round ended")
					}
				}()
			}
			workers.Wait()
		})
		total := 0
		for _, count := range counts {
			total += count
		}
		return float64(total*strands) / took.wall.Seconds(), took
	}
	spinning := func() float64 {
		runtime.GOMAXPROCS(2)
		return timed(func() {
			var both sync.WaitGroup
			for i := 0; i < 2; i++ {
				both.Add(1)
				go func() {
					defer both.Done()
					for begin := time.Now(); time.Since(begin) < 10*time.Millisecond; {
					}
				}()
			}
			both.Wait()
		}).cores()
	}
	one, alone := run(1)
	before := spinning()
	two, together := run(2)
	cores := max((before+spinning())/2, together.cores())
	ideal := one / min(alone.cores(), 1) * cores
	return sample{value: 100 * two / ideal, cores: together.cores()}.and("one", one).and("two", two)
}

// flag is Go's event that is waited for and cleared: a channel of one.
type flag chan struct{}

func (f flag) set()          { f <- struct{}{} }
func (f flag) waitAndClear() { <-f }

func eventBetweenGoroutines(quick bool) sample {
	count := pick(quick, 500_000, 100_000)
	ping, pong := make(flag, 1), make(flag, 1)
	var answered atomic.Int64
	go func() {
		for i := 0; i < count; i++ {
			ping.waitAndClear()
			answered.Add(1)
			pong.set()
		}
	}()
	took := timed(func() {
		for i := 1; i <= count; i++ {
			ping.set()
			pong.waitAndClear()
			check(answered.Load() == int64(i), "a wait ended before its event was set")
		}
	})
	return roundTrips(took, count, int(answered.Load()))
}

// eventWithThread locks one of the two to a thread of its own.
func eventWithThread(quick bool) sample {
	ping, pong := make(flag, 1), make(flag, 1)
	var over atomic.Bool
	here, there := 0, 0
	var other sync.WaitGroup
	took := timed(func() {
		other.Add(1)
		go func() {
			defer other.Done()
			for {
				ping.waitAndClear()
				if over.Load() {
					return
				}
				there++
				pong.set()
			}
		}()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for begin := time.Now(); time.Since(begin) < span(quick); {
			for i := 0; i < 16; i++ {
				ping.set()
				pong.waitAndClear()
			}
			here += 16
		}
		over.Store(true)
		ping.set()
		other.Wait()
	})
	return roundTrips(took, here, there)
}

// serve starts the echo server and returns its port; Go sets TCP_NODELAY by itself.
func serve() int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				panic(err)
			}
			go echo(connection)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := connection.Read(buffer)
		if err == io.EOF {
			return
		}
		if err == nil {
			_, err = connection.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}
