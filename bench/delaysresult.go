package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/internal/mongotest"
)

// delaysResult is what was measured with one server. It is saved as JSON, and its histograms
// beside it.
type delaysResult struct {
	ID, Title string
	At        time.Time
	Took      time.Duration
	Machine   machineFacts
	Outcome   *delays.Outcome
}

// The products.
const (
	productDevmongo = "devmongo"
	productSecantus = "SecantusDB"
	productMongoDB  = "MongoDB"
)

// place is a server that the page has a section for, measured or not.
type place struct {
	product, version string
	// members is the number of members of a set of MongoDB.
	members int
}

var (
	devmongoPlace = place{product: productDevmongo}
	secantusPlace = place{product: productSecantus, version: "0.7.0b3"}
)

// places are the sections of the page, without those that only a result has.
func places() []place {
	all := []place{devmongoPlace, secantusPlace}
	for _, version := range []string{"4.4", "5.0", "6.0", "7.0", "8.0"} {
		all = append(all, place{productMongoDB, version, 1}, place{productMongoDB, version, 3})
	}
	return all
}

// id names the files of the place.
func (p place) id() string {
	parts := []string{strings.ToLower(p.product)}
	if p.version != "" {
		parts = append(parts, p.version)
	}
	if p.members > 0 {
		parts = append(parts, fmt.Sprint(p.members))
	}
	return strings.Join(parts, "-")
}

// heading is the server without the number of its members.
func (p place) heading() string { return strings.TrimSpace(p.product + " " + p.version) }

func (p place) title() string {
	title := p.heading()
	switch p.members {
	case 0:
	case 1:
		title += ", one node"
	case 3:
		title += ", three nodes"
	default:
		title += fmt.Sprintf(", %d nodes", p.members)
	}
	return title
}

// command measures with the place's server.
func (p place) command() string {
	switch p.product {
	case productMongoDB:
		return fmt.Sprintf("bench/delays/mongodb.sh %s %d", p.version, p.members)
	case productSecantus:
		return "go -C bench run . delays --server " + mongotest.NameSecantus
	}
	return "go -C bench run . delays --server " + mongotest.NameDevmongo
}

// delaysFiles are the names of the result and of its histograms.
func delaysFiles(dir, id string) (result, log string) {
	return filepath.Join(dir, id+".json"), filepath.Join(dir, id+".hlog")
}

// save writes both files.
func (r *delaysResult) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	var histograms bytes.Buffer
	if err := r.Outcome.WriteLog(&histograms); err != nil {
		return err
	}
	result, log := delaysFiles(dir, r.ID)
	return errors.Join(os.WriteFile(result, append(text, '\n'), 0o644), os.WriteFile(log, histograms.Bytes(), 0o644))
}

// loadDelays reads the result of one server. An error wraps os.ErrNotExist if there is none.
func loadDelays(dir, id string) (*delaysResult, error) {
	result, log := delaysFiles(dir, id)
	text, err := os.ReadFile(result)
	if err != nil {
		return nil, err
	}
	var r delaysResult
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", result, err)
	}
	histograms, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = histograms.Close() }()
	if err := r.Outcome.ReadLog(histograms); err != nil {
		return nil, fmt.Errorf("%s: %w", log, err)
	}
	return &r, nil
}

// loadAllDelays reads all results: first those of places, then others by name.
func loadAllDelays(dir string) ([]*delaysResult, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*delaysResult
	for _, file := range files {
		r, err := loadDelays(dir, strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	order := func(r *delaysResult) int {
		i := slices.IndexFunc(places(), func(p place) bool { return p.id() == r.ID })
		if i < 0 {
			return len(places())
		}
		return i
	}
	slices.SortStableFunc(all, func(a, b *delaysResult) int { return cmp.Compare(order(a), order(b)) })
	return all, nil
}
