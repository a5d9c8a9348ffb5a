package main

import (
	"bytes"
	"fmt"
)

// headline is a sentence of the page's first list, about one goal of a row.
type headline struct {
	row, goal string
	// sentence has one %s, for the measured figure. It must be true for every figure.
	sentence string
}

// headlines are the most important figures. A test checks that their goals exist.
var headlines = []headline{
	{workloadRow.name, nameEmbedded + relativeToFindUpdate, "Embedded keytail answers **%s times** as many requests per second as a program that finds the key and updates `last_used` for each request."},
	{workloadRow.name, nameEmbedded + relativeToClearedCache, "Embedded keytail answers **%s times** as many requests per second as a cache in the process that every write clears."},
	{workloadRow.name, nameDaemon + relativeToFindUpdate, "A keytail daemon answers **%s times** as many requests per second over HTTP as a program that finds and updates the key for each request."},
	{workloadRow.name, nameDaemon + relativeToClearedCache, "A keytail daemon answers **%s times** as many requests per second over HTTP as that cache in the process of the caller."},
	{hitRow.name, "1000 keys, 1 goroutine" + relativeToBareHit, "A cache hit takes **%s times** as long as SHA-256 and a lookup in bigcache alone."},
	{authRow.name, requestsRelativeTo(sideSame), "`GET /v1/auth` handles **%s times** as many requests per second as a Gin handler that sends the same bytes."},
	{otherCachesRow.name, longestAcceptance, "Under the faults of the nemesis, keytail accepted a revoked key for at most **%s s** after the acknowledgement. Its bound there is 6 s."},
}

// writeSummary writes the headlines and the missed goals. Both come from the results.
func writeSummary(w *bytes.Buffer, all []*result) {
	fmt.Fprintf(w, "\n## Summary\n\n")
	for _, h := range headlines {
		for _, r := range all {
			if g := h.find([]*result{r}); g != nil {
				fmt.Fprintf(w, "- "+h.sentence+" (%s)\n", number(g.Got), reference(r))
			}
		}
	}
	goals, missed := 0, 0
	for _, r := range all {
		goals, missed = goals+len(r.Goals), missed+len(missedGoals(r))
	}
	fmt.Fprintf(w, "\nkeytail meets %d of its %d goals", goals-missed, goals)
	if missed == 0 {
		fmt.Fprintf(w, ".\n\n")
		return
	}
	fmt.Fprintf(w, " and misses %d. The sections of the rows give the known reasons.\n\n| row | figure | goal | measured |\n|---|---|---|---|\n", missed)
	for _, r := range all {
		for _, g := range missedGoals(r) {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", reference(r), g.Name, g.limit(), g.measured())
		}
	}
	fmt.Fprintln(w)
}

// reference links to the section of a row, and says whether its figures are older than the row.
func reference(r *result) string {
	link := fmt.Sprintf("[%s](#%s)", r.Row, r.Row)
	if definition, err := rowOf(r); err == nil && len(changes(r, &definition)) > 0 {
		link += ", *old*"
	}
	return link
}

// find returns the goal of the headline, or nil if the results do not have it.
func (h *headline) find(all []*result) *goal {
	for _, r := range all {
		for i := range r.Goals {
			if r.Row == h.row && r.Goals[i].Name == h.goal {
				return &r.Goals[i]
			}
		}
	}
	return nil
}

// missedGoals returns the goals that the row misses.
func missedGoals(r *result) []*goal {
	var missed []*goal
	for i := range r.Goals {
		if g := &r.Goals[i]; !g.met() {
			missed = append(missed, g)
		}
	}
	return missed
}
