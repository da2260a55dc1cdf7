module ropewalk-bench-go

go 1.22
