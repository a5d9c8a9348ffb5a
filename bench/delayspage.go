package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/delays"
)

const delaysIntroduction = `# Delays by fault

*For engineers who decide, and want to see how long a revoked key is accepted while MongoDB, the network or keytail fails.*

This page is generated: ` + "`go -C bench run . report`" + ` writes it from the files in [bench/delays](bench/delays). Do not edit it.

## What is measured

A daemon runs as a process of its own, and clients call verify over HTTP. 20 keys are revoked each second by another client, which writes to
MongoDB directly. Each revoked key is asked for until it is refused: the pause between two requests is a fiftieth of the time since the
revocation, at least 1 ms and at most 50 ms. So a delay is exact to two percent and a millisecond. After that it is asked for once a second.
A hundred times a second a key that nobody changes is asked for. Each fault begins while all is well and ends before the next one.

| distribution | values |
|---|---|
| last acceptance | from the acknowledgement of a revocation by the majority to the arrival of the last answer VALID for the key; 0 if none came after it |
| first refusal | from the acknowledgement to the arrival of the first answer DISABLED; 0 if that came first. UNAVAILABLE does not count: an outage is not a refusal |
| staleness | the age that each answer VALID for an unchanged key reports (` + "`staleness_ms`" + `) |
| UNAVAILABLE since the beginning, since the end | from the beginning (the end) of the fault to each answer UNAVAILABLE for an unchanged key |

The distributions have the keys that were not refused yet when the fault began, and those that were revoked until keytail had recovered: its
state is ` + "`live`" + `, and a heartbeat that was sent after the end of the fault has come back.

**The run fails** if one answer breaks [the guarantee](guarantees.md): a key that is accepted by a request which was sent more than ` + "`max_stale`" + `
after the acknowledgement of its revocation, an answer that claims to contain a change and does not, a reported staleness above
` + "`max_stale`" + `, a refusal of a valid key, a revoked key that is not refused within a minute. It also fails if keytail has not noticed a fault,
because nothing was measured then.

How to read the figures:

- In the plots the black, dashed line is ` + "`max_stale`" + `. No line of the staleness may cross it, and no line of the last acceptance by more than
  the time of one request: the guarantee counts to the sending of the request, and the plot to the arrival of its answer.
- The axis of percentiles is that of HdrHistogram: 0 to 90 %, 90 to 99 % and 99 to 99.9 % have the same width. A line ends at its last
  value. On an axis of times that is logarithmic, less than 0.1 ms is drawn as 0.1 ms.
- A single node that is paused or killed acknowledges nothing, so each revocation of that time is acknowledged when the fault has ended. Only
  with a cut network, and with three nodes, are revocations acknowledged of which keytail cannot know: then the last acceptance comes close to
  ` + "`max_stale`" + `, and after that keytail answers UNAVAILABLE until the network is back.
- keytail needs a moment to connect again after an election or a lost history. Meanwhile it answers from the cache, within ` + "`max_stale`" + `.

`

const delaysInstructions = `## Run it

<!-- needs: some minutes -->
` + "```sh" + `
go -C bench run . delays                                        # devmongo, then a SecantusDB that it starts: four minutes
go -C bench run . delays --server devmongo --only network-cut   # one fault on one server; nothing is saved
go -C bench run . delays --max-stale 15s --for 25s --rounds 3   # keytail's default, and more values
go -C bench run . delays --uri 'mongodb://127.0.0.1:27017/'     # your replica set
` + "```" + `

- The faults are made on your replica set: use one that nothing else uses. The user needs the role ` + "`root`" + `, and keys are written to a new
  database, which is dropped at the end.
- From outside, without root on the machines, the command makes an election (` + "`replSetStepDown`" + `) and kills keytail. With the test commands
  (` + "`--setParameter enableTestCommands=1`" + `) it also makes a paused primary, a lost majority (two members or more), a lost history and a slow
  disk. It cuts the network with a proxy, which stands before one member: TLS then needs a certificate for 127.0.0.1.
- For the rest, give commands: ` + "`--fault-command server-killed='docker kill mongo1'`" + ` makes a fault, and
  ` + "`--heal-command server-killed='docker start mongo1'`" + ` ends it. The variable ` + "`PRIMARY`" + ` is the primary's host:port when the fault begins.
- ` + "[mongodb.sh](../bench/delays/mongodb.sh)" + ` does all of this with a MongoDB in docker. It was tested with other servers in the place of docker's, not with a MongoDB.
- A fault that the server refuses is "not possible" in the result, with the server's reason.
- The result is saved in ` + "`docs/bench/delays`" + ` under the server's version and number of members, and this page is written again. Send both files
  of a server to add it here.
- The ` + "`.hlog`" + ` files are in HdrHistogram's log format, with a tag for each fault and distribution, such as ` + "`network-cut/last-acceptance`" + `. Values are
  nanoseconds with three significant digits. The libraries of HdrHistogram in all languages read them.

`

// writeDelaysPage writes docs/delays.md and its plots from the saved results.
func writeDelaysPage(docs string) error {
	all, err := loadAllDelays(delaysDir(docs))
	if err != nil {
		return err
	}
	var page bytes.Buffer
	page.WriteString(delaysIntroduction)
	writeFaultTable(&page)
	writeDelaysSummary(&page, all)
	page.WriteString(delaysInstructions)
	for _, r := range all {
		if err := writeDelaysSection(&page, r, docs); err != nil {
			return err
		}
	}
	writeMissing(&page, all)
	return os.WriteFile(filepath.Join(docs, "delays.md"), bytes.TrimRight(page.Bytes(), "\n"), 0o644)
}

func writeFaultTable(w *bytes.Buffer) {
	fmt.Fprint(w, "| fault | what it is |\n|---|---|\n")
	for _, f := range knownFaults {
		fmt.Fprintf(w, "| %s | %s |\n", f.name, f.means)
	}
	fmt.Fprintln(w)
}

// writeDelaysSummary writes the longest acceptances of all servers, measured or not.
func writeDelaysSummary(w *bytes.Buffer, all []*delaysResult) {
	fmt.Fprint(w, "## The longest acceptance of a revoked key\n\nFrom the acknowledgement of the revocation, by server and fault. –: not possible on this server.\n\n")
	fmt.Fprintf(w, "| server | max_stale | %s |\n|%s\n", strings.Join(faultNames(), " | "), strings.Repeat("---|", len(knownFaults)+2))
	for _, r := range all {
		cells := []string{fmt.Sprintf("[%s](#%s)", r.Title, anchor(r.Title)), short(r.Outcome.MaxStale)}
		for _, name := range faultNames() {
			cells = append(cells, worst(measurementOf(r.Outcome, name), delays.LastAcceptance))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
	for _, p := range missing(all) {
		fmt.Fprintf(w, "| %s | |%s\n", p.title(), strings.Repeat(" not run |", len(knownFaults)))
	}
	fmt.Fprintln(w)
}

// anchor is the fragment of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-':
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.ToLower(heading))
}

// measurementOf returns the measurement of a fault, or nil.
func measurementOf(o *delays.Outcome, fault string) *delays.Measurement {
	i := slices.IndexFunc(o.Measurements, func(m *delays.Measurement) bool { return m.Fault == fault })
	if i < 0 {
		return nil
	}
	return o.Measurements[i]
}

// worst is the largest time of a distribution, as text.
func worst(m *delays.Measurement, distribution string) string { return at(m, distribution, 100) }

// at is a percentile of a distribution, as text.
func at(m *delays.Measurement, distribution string, percentile float64) string {
	if m == nil || m.Rounds == 0 {
		return "–"
	}
	h := m.Histograms[distribution]
	if h == nil {
		return "none"
	}
	return short(time.Duration(h.ValueAtQuantile(percentile)))
}

// short is a time with three significant digits, in milliseconds or seconds.
func short(d time.Duration) string {
	if d < time.Second {
		return number(float64(d)/1e6) + " ms"
	}
	return number(d.Seconds()) + " s"
}

// writeDelaysSection writes a server's tables and plots.
func writeDelaysSection(w *bytes.Buffer, r *delaysResult, docs string) error {
	fmt.Fprintf(w, "## %s\n\n%s", r.Title, r.markdown())
	for _, d := range delaysCharts {
		c := d.chart(r.Outcome)
		if len(c.Series) == 0 {
			continue
		}
		name := filepath.Join("bench", "delays", r.ID+"-"+c.Name+".svg")
		if err := draw(&c, filepath.Join(docs, name)); err != nil {
			return err
		}
		fmt.Fprintf(w, "\n![%s: %s](%s)\n", r.Title, c.Title, filepath.ToSlash(name))
	}
	files := make([]string, 0, 2)
	for _, suffix := range []string{".hlog", ".json"} {
		files = append(files, fmt.Sprintf("[%s](bench/delays/%s)", r.ID+suffix, r.ID+suffix))
	}
	fmt.Fprintf(w, "\nFiles: %s.\n\n%s\n\n", strings.Join(files, ", "), provenance(&result{At: r.At, Took: r.Took, Machine: r.Machine}))
	return nil
}

// markdown is the tables of a server.
func (r *delaysResult) markdown() string {
	var w bytes.Buffer
	o := r.Outcome
	fmt.Fprintf(&w, "`max_stale` is %s, a fault without a length of its own lasts %s.\n", short(o.MaxStale), short(o.For))
	for _, broken := range o.Failures() {
		fmt.Fprintf(&w, "\n**A guarantee was broken**: %s.\n", broken)
	}
	times := table{Title: "Keys that are revoked", Head: []string{"fault", "revocations", "accepted after the acknowledgement", "last acceptance: p50", "p99", "worst", "first refusal: p50", "p99", "worst"}}
	answers := table{Title: "Keys that nobody changes, from the beginning of the fault until a second after the recovery", Head: []string{"fault", "lasted", "recovered after", "answers", "UNAVAILABLE", "first UNAVAILABLE after", "last UNAVAILABLE after", "last after the end", "no answer", "staleness: p50", "worst"}}
	made := table{Title: "How the faults were made", Head: []string{"fault", "how it is made"}}
	for _, m := range o.Measurements {
		how := strings.ReplaceAll(m.How, "|", `\|`) // it is in a table
		if m.Losses > 0 {
			how += fmt.Sprintf("; the history was lost in %d of %d rounds", m.Losses, m.Rounds)
		}
		made.Rows = append(made.Rows, []string{m.Fault, how})
		if m.Rounds == 0 {
			continue
		}
		times.Rows = append(times.Rows, slices.Concat([]string{m.Fault, fmt.Sprint(m.Revocations), fmt.Sprint(m.Late)}, figures(m, delays.LastAcceptance), figures(m, delays.FirstRefusal)))
		answers.Rows = append(answers.Rows, []string{
			m.Fault, short(m.Lasted), short(m.Recovery), fmt.Sprint(m.Answers), fmt.Sprint(m.Unavailable),
			at(m, delays.UnavailableAfterBegin, 0), worst(m, delays.UnavailableAfterBegin), worst(m, delays.UnavailableAfterEnd),
			fmt.Sprint(m.Unanswered), at(m, delays.Staleness, 50), worst(m, delays.Staleness),
		})
	}
	writeTable(&w, times)
	writeTable(&w, answers)
	writeTable(&w, made)
	return w.String()
}

func figures(m *delays.Measurement, distribution string) []string {
	return []string{at(m, distribution, 50), at(m, distribution, 99), worst(m, distribution)}
}

// missing are the places without a result.
func missing(all []*delaysResult) []place {
	return slices.DeleteFunc(places(), func(p place) bool {
		return slices.ContainsFunc(all, func(r *delaysResult) bool { return r.ID == p.id() })
	})
}

// writeMissing says for each server that was not measured how to do it.
func writeMissing(w *bytes.Buffer, all []*delaysResult) {
	left := missing(all)
	for len(left) > 0 {
		heading := left[0].heading()
		fmt.Fprintf(w, "## %s\n\nNot run. To measure it:\n\n<!-- needs: docker -->\n```sh\n", heading)
		for len(left) > 0 && left[0].heading() == heading {
			fmt.Fprintf(w, "%s   # %s\n", left[0].command(), left[0].title())
			left = left[1:]
		}
		fmt.Fprint(w, "```\n\n")
	}
}
