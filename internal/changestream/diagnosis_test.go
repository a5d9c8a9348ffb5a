package changestream

import (
	"errors"
	"testing"
	"time"
)

func TestADiagnosisKeepsSinceWhenItFails(t *testing.T) {
	var d diagnosis
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, second := errors.New("first"), errors.New("second")
	d.failed(begin, first, "a")
	before := d.load().Failure
	d.does(Pausing, begin.Add(time.Second))
	d.failed(begin.Add(time.Minute), second, "b")
	want := Failure{Since: begin, At: begin.Add(time.Minute), Err: second, Advice: "b"}
	if got := d.load(); *got.Failure != want || got.Activity != Pausing || !got.Until.Equal(begin.Add(time.Second)) {
		t.Errorf("%+v of %+v", got.Failure, got)
	}
	if !errors.Is(before.Err, first) {
		t.Error("a failure that was read has changed")
	}
	d.succeeded()
	d.failed(begin.Add(time.Hour), first, "a")
	if got := d.load().Failure; !got.Since.Equal(begin.Add(time.Hour)) {
		t.Errorf("after a success it fails since %v", got.Since)
	}
}
