package peers

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

//go:embed config
var configs embed.FS

// Load is what wrk measured.
type Load struct {
	Requests int64 `json:"requests"`
	Took     int64 `json:"duration_us"`
	P50      int64 `json:"p50_us"`
	P99      int64 `json:"p99_us"`
	// Refused counts statuses of 400 and more, Failed connections and requests without a
	// response.
	Refused int64 `json:"refused"`
	Failed  int64 `json:"failed"`
}

// PerSecond is the number of requests per second.
func (l *Load) PerSecond() float64 {
	return float64(l.Requests) / (time.Duration(l.Took) * time.Microsecond).Seconds()
}

// Wrk is the client of all measurements.
type Wrk struct {
	// Program is its path, Script that which LoadScript returned.
	Program, Script string
}

// LoadScript writes the script of wrk to dir, and returns its path.
func LoadScript(dir string) (string, error) { return render(dir, "load.lua", nil) }

// Run sends the bearer tokens of a file, one a line, over keep-alive connections. It fails
// if a request was refused: a side that refuses would look fast.
func (w *Wrk) Run(ctx context.Context, address, tokens string, connections int, seconds int) (*Load, error) {
	command := exec.CommandContext(ctx, w.Program, "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds)+"s", "-s", w.Script,
		"http://"+address+"/api", "--", tokens)
	text, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("wrk: %w\n%s", err, tail(text))
	}
	return parseLoad(text)
}

func parseLoad(text []byte) (*Load, error) {
	_, result, found := bytes.Cut(text, []byte("\nRESULT "))
	if !found {
		return nil, fmt.Errorf("wrk printed no result: %s", tail(text))
	}
	var l Load
	if err := json.Unmarshal(result, &l); err != nil {
		return nil, fmt.Errorf("wrk's result: %w", err)
	}
	if l.Requests == 0 || l.Took == 0 {
		return nil, fmt.Errorf("wrk got no response: %s", tail(text))
	}
	if l.Refused > 0 || l.Failed > 0 {
		return nil, fmt.Errorf("%d of %d requests were refused and %d failed, all must be allowed", l.Refused, l.Requests, l.Failed)
	}
	return &l, nil
}
