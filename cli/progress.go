package cli

import (
	"fmt"
	"strings"
)

// progress returns a function that shows how far something is, if somebody watches. It does not draw the same thing twice.
func (a *app) progress(what string) func(done, total int64) {
	if !isTerminal(a.Stderr) {
		return nil
	}
	drawn := ""
	return func(done, total int64) {
		if line := bar(what, done, total); line != drawn {
			drawn = line
			fmt.Fprint(a.Stderr, "\r", line)
		}
	}
}

// endProgress takes away what progress has shown.
func (a *app) endProgress() {
	if isTerminal(a.Stderr) {
		fmt.Fprint(a.Stderr, "\r\x1b[K")
	}
}

const barWidth = 30

// bar draws how far something is. What is done of nothing is all of it.
func bar(what string, done, total int64) string {
	part := 1.0
	if total > 0 {
		part = min(max(float64(done)/float64(total), 0), 1)
	}
	full := int(part * barWidth)
	return fmt.Sprintf("%s [%s%s] %3d %%", what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), int(part*100))
}
