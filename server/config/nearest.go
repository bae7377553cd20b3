package config

import "strings"

// Nearest returns the candidate that is most like s, or "" if none is much like it. A candidate's last part counts as
// well: who writes max_results at the top means scim.max_results.
func Nearest(s string, candidates []string) string {
	s = strings.ToLower(s)
	best, bestCost := "", len(s)/3+2
	for _, c := range candidates {
		cost := distance(s, strings.ToLower(c))
		if last := c[strings.LastIndexByte(c, '.')+1:]; last != c {
			own := s[strings.LastIndexByte(s, '.')+1:]
			if d := distance(own, last); d <= 1 {
				cost = min(cost, d+1)
			}
		}
		if cost < bestCost {
			best, bestCost = c, cost
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours that make b of a.
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			change := prev[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			cur[j] = min(change, prev[j]+1, cur[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
