package cli

import (
	"fmt"
	"io"
	"runtime/debug"
)

type versionCommand struct{}

func (versionCommand) run(stdout, stderr io.Writer, deps Deps, wrong error) int {
	if wrong != nil {
		return usage(stderr, wrong)
	}
	info, _ := debug.ReadBuildInfo()
	_, _ = fmt.Fprintln(stdout, "keytail", versionText(deps.Version, info))
	return exitOK
}

// versionText is the linker's version or the module's, with the commit and the Go
// version if they are known.
func versionText(version string, info *debug.BuildInfo) string {
	if info == nil {
		return orDevel(version)
	}
	if version == "" {
		version = info.Main.Version
	}
	text := orDevel(version)
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			text += " commit " + setting.Value
		}
	}
	return text + " " + info.GoVersion
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
