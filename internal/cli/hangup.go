package cli

import (
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/reload"
)

// notifyHangup receives SIGHUP, which ends a process that does not, until stop is
// called.
func notifyHangup() (hangups <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// hangup handles a SIGHUP, and reports whether the process must stop. A daemon
// reads its files again. --dev in a terminal belongs to the person who sits there:
// it stops when the window is closed, because it would keep its ports otherwise.
func (d *serveRun) hangup(p parts) (stop bool) {
	if d.cfg.Dev && d.inTerminal {
		d.log.Info("stopping because the terminal was closed")
		return true
	}
	d.reload(append(p.service.Files(), p.listeners.files()...), p.service.ReopenLogs())
	return false
}

// reload reads the files now, and logs what came of it in one line. reopened: the
// decision log is opened again, too. Whoever sends the signal may expect more of it, so
// the line also says what it does not do.
func (d *serveRun) reload(all []*reload.Files, reopened bool) {
	if len(all) == 0 && !reopened {
		d.log.Warn("SIGHUP: there is no token file, no certificate and no decision log to open again; changes of settings, also in the file of --config, need a restart")
		return
	}
	names := map[reload.Outcome][]string{}
	for _, files := range all {
		outcome := files.Reload()
		names[outcome] = append(names[outcome], files.What())
	}
	log := d.log.Info
	if len(names[reload.Refused]) > 0 {
		log = d.log.Warn
	}
	var fields []zap.Field
	for _, outcome := range []reload.Outcome{reload.Changed, reload.Unchanged, reload.Refused} {
		if names[outcome] != nil {
			fields = append(fields, zap.Strings(string(outcome), names[outcome]))
		}
	}
	if reopened {
		fields = append(fields, zap.String("decision_log", "opened again"))
	}
	what := "the token and certificate files have been read again"
	if len(all) == 0 {
		what = "there is no token file and no certificate to read again"
	}
	log("SIGHUP: "+what+"; changes of other settings, also in the file of --config, need a restart", fields...)
}

// files are the certificate files of all listeners.
func (all listeners) files() []*reload.Files {
	var files []*reload.Files
	for _, l := range all {
		if l.certificates != nil {
			files = append(files, l.certificates.files)
		}
	}
	return files
}
