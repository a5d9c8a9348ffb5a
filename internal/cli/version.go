package cli

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"
)

type versionCommand struct{}

func (versionCommand) run(stdout, stderr io.Writer, deps Deps, wrong error) int {
	if wrong != nil {
		return usage(stderr, wrong)
	}
	info, _ := debug.ReadBuildInfo()
	_, _ = fmt.Fprintln(stdout, "keytail", versionText(deps.Version, deps.Commit, info))
	return exitOK
}

// versionText is the version, the commit and the Go version, as far as they are
// known. What the linker sets wins over what Go has recorded.
func versionText(version, commit string, info *debug.BuildInfo) string {
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if version == "" {
		version = info.Main.Version
	}
	text := orDevel(version)
	if commit == "" {
		commit = recordedCommit(info)
	}
	if commit != "" {
		text += " commit " + commit
	}
	return strings.TrimSpace(text + " " + info.GoVersion)
}

// recordedCommit is the commit that Go read from git when it built the binary.
func recordedCommit(info *debug.BuildInfo) string {
	var commit, dirty string
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			commit = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			dirty = " (modified)"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}

// orDevel is for builds without a version.
func orDevel(version string) string {
	if version == "" {
		return "(devel)"
	}
	return version
}

// serviceVersion is the short form for logs, metrics and heartbeats.
func serviceVersion(deps Deps) string {
	if info, ok := debug.ReadBuildInfo(); ok && deps.Version == "" {
		return orDevel(info.Main.Version)
	}
	return orDevel(deps.Version)
}
