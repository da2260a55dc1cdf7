// The Go peer: answers one line for each line it reads (the protocol is told in src/peer.rs).
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"
)

type sample struct {
	value float64 // in the work's unit
	cores float64 // CPU time by wall time
	extra map[string]float64
}

type work func(quick bool) sample

var suites = map[string]map[string]work{"sync": syncWorks, "pool": poolWorks, "greenlet": greenletWorks}

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(answer(strings.Fields(in.Text())))
	}
}

func answer(words []string) string {
	if len(words) != 2 {
		return "error: two words wanted"
	}
	if words[0] == "works" {
		names := []string{}
		for name := range suites[words[1]] {
			names = append(names, name)
		}
		sort.Strings(names)
		return strings.Join(append(names, "-"), " ")
	}
	if strings.HasPrefix(words[0], "echo.") {
		return fmt.Sprintf("port %d", serve())
	}
	for _, works := range suites {
		if run, ok := works[words[0]]; ok {
			s := run(words[1] == "quick")
			line := fmt.Sprintf("ok %.6f %.3f", s.value, s.cores)
			for name, value := range s.extra {
				line += fmt.Sprintf(" %s=%.6f", name, value)
			}
			return line
		}
	}
	return "error: no such work"
}

type spent struct{ wall, cpu time.Duration }

func (s spent) cores() float64 { return s.cpu.Seconds() / s.wall.Seconds() }

// sample of count operations, in units of that many nanoseconds.
func (s spent) per(count int, unit float64) sample {
	return sample{value: float64(s.wall.Nanoseconds()) / float64(count) / unit, cores: s.cores()}
}

func (s sample) and(name string, value float64) sample {
	if s.extra == nil {
		s.extra = map[string]float64{}
	}
	s.extra[name] = value
	return s
}

func timed(body func()) spent {
	cpu, begin := cpuTime(), time.Now()
	body()
	wall := time.Since(begin)
	return spent{wall, cpuTime() - cpu}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func pick(quick bool, full, short int) int {
	if quick {
		return short
	}
	return full
}

func span(quick bool) time.Duration { return time.Duration(pick(quick, 200, 40)) * time.Millisecond }

func check(ok bool, what string) {
	if !ok {
		fmt.Println("error: " + what)
		os.Exit(1)
	}
}

var stepsPerMicro = calibrate()

func calibrate() float64 {
	const steps = 100_000
	best := time.Hour
	for seed := uint64(0); seed < 50; seed++ {
		begin := time.Now()
		sink += grain(seed, steps)
		if took := time.Since(begin); took < best {
			best = took
		}
	}
	return steps * 1e3 / float64(best.Nanoseconds())
}

var sink uint64

func stepsOf(nanos float64) int { return int(stepsPerMicro*nanos/1e3 + 0.5) }

// grain is work whose every step needs the one before.
func grain(x uint64, steps int) uint64 {
	for i := 0; i < steps; i++ {
		x *= 0x9E3779B97F4A7C15
		x = (x<<17 | x>>47) ^ 0x5555
	}
	return x
}

func smallHash(x uint64) uint64 {
	x = (x ^ (x >> 31)) * 0x7FB5D329728EA185
	return x ^ (x >> 27)
}
