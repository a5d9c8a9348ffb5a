package packages

import (
	"archive/tar"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"debug/macho"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBinariesSayWhatTheyAre, on the processors that this machine can run.
func TestBinariesSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	r := built(t)
	for platform, command := range map[string][]string{
		"linux_amd64": {r.binary(t, "linux_amd64")},
		"linux_arm64": {program(t, "qemu-aarch64-static", "qemu-user-static"), r.binary(t, "linux_arm64")},
	} {
		got := output(t, command[0], append(command[1:], "version")...)
		if want := "keytail v" + r.Version + " commit " + r.Commit + " go"; !strings.HasPrefix(got, want) {
			t.Errorf("%s: version is %q, want %q", platform, got, want)
		}
	}
}

// TestBinariesAreForTheirPlatform: those for Linux are static.
func TestBinariesAreForTheirPlatform(t *testing.T) {
	t.Parallel()
	r := built(t)
	for platform, machine := range map[string]elf.Machine{"linux_amd64": elf.EM_X86_64, "linux_arm64": elf.EM_AARCH64} {
		file, err := elf.Open(r.binary(t, platform))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if file.Machine != machine || file.Type != elf.ET_EXEC {
			t.Errorf("%s: the machine is %v, and the type is %v", platform, file.Machine, file.Type)
		}
		for _, segment := range file.Progs {
			if segment.Type == elf.PT_INTERP {
				t.Errorf("%s is not static", platform)
			}
		}
	}
	for platform, processor := range map[string]macho.Cpu{"darwin_amd64": macho.CpuAmd64, "darwin_arm64": macho.CpuArm64} {
		file, err := macho.Open(r.binary(t, platform))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if file.Cpu != processor || file.Type != macho.TypeExec {
			t.Errorf("%s: the processor is %v, and the type is %v", platform, file.Cpu, file.Type)
		}
	}
}

// TestBinariesAreOfTheCommit: what scanners read in a binary.
func TestBinariesAreOfTheCommit(t *testing.T) {
	t.Parallel()
	r := built(t)
	for _, platform := range platforms {
		info, err := buildinfo.ReadFile(r.binary(t, platform))
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		for key, want := range map[string]string{
			"vcs.revision": r.Commit, "vcs.modified": "false", "-trimpath": "true", "-tags": "nomsgpack", "CGO_ENABLED": "0",
		} {
			if settings[key] != want {
				t.Errorf("%s: %s is %q, want %q", platform, key, settings[key], want)
			}
		}
		if info.Path != "github.com/keytail/keytail/cmd/keytail" || !strings.HasPrefix(info.Main.Version, "v") {
			t.Errorf("%s: the main package is %s %s", platform, info.Path, info.Main.Version)
		}
	}
}

// TestArchives have the binary and what a person needs to install it by hand.
func TestArchives(t *testing.T) {
	t.Parallel()
	r := built(t)
	for _, platform := range platforms {
		modes := extract(t, r.path(r.archive(platform)), strings.TrimSuffix(r.archive(platform), ".tar.gz"), r.binary(t, platform))
		for name, mode := range map[string]int64{
			"keytail": 0o755, "LICENSE": 0o644, "licenses.txt": 0o644, "README.md": 0o644, "CHANGELOG.md": 0o644,
			"completions/keytail.bash": 0o644, "completions/keytail.zsh": 0o644, "completions/keytail.fish": 0o644,
			"systemd/keytail.service": 0o644, "systemd/keytail.yaml": 0o644, "systemd/sysusers.conf": 0o644, "systemd/tmpfiles.conf": 0o644,
		} {
			if modes[name] != mode {
				t.Errorf("%s: the mode of %s is %o, want %o", platform, name, modes[name], mode)
			}
			delete(modes, name)
		}
		if len(modes) != 0 {
			t.Errorf("%s has more files: %v", platform, modes)
		}
	}
}

// extract reads an archive, whose files are in one folder, and returns their modes. Its
// binary must be the given one.
func extract(t *testing.T, path, folder, binary string) map[string]int64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]int64{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return modes
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(header.Name, folder+"/")
		if !ok || header.Uname != "root" || header.Gname != "root" {
			t.Errorf("%s has %s of %s:%s", path, header.Name, header.Uname, header.Gname)
		}
		modes[name] = header.Mode
		if name == "keytail" {
			same(t, path, archive, binary)
		}
	}
}

// same checks that a packed binary is the one that is tested and listed in the SBOM.
func same(t *testing.T, where string, packed io.Reader, binary string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "keytail")
	file, err := os.Create(copied)
	if err == nil {
		_, err = io.Copy(file, packed)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if sum(t, copied) != sum(t, binary) {
		t.Errorf("%s has another binary than %s", where, binary)
	}
}
