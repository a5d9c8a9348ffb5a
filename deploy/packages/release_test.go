// Package packages tests what .ci/release has built, file by file, and the scripts of the
// packages. The tests need KEYTAIL_TEST_RELEASE, which names the directory; .ci/run
// builds a snapshot for them.
package packages

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/testprogram"
)

// feature is what KEYTAIL_TEST_REQUIRE calls all that these tests need.
const feature = "release"

// release is a directory that goreleaser has filled.
type release struct {
	Dir     string `json:"-"`
	Version string // without the v
	Commit  string
}

// built finds the release.
func built(t *testing.T) release {
	t.Helper()
	r := release{Dir: os.Getenv("KEYTAIL_TEST_RELEASE")}
	if r.Dir == "" {
		testprogram.SkipIfMissing(t, feature, fmt.Errorf("%w: a release: .ci/release build DIR, and set KEYTAIL_TEST_RELEASE=DIR", testprogram.ErrMissing))
	}
	content, err := os.ReadFile(r.path("metadata.json"))
	if err == nil {
		err = json.Unmarshal(content, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// path is the path of a file of the release.
func (r release) path(name string) string { return filepath.Join(r.Dir, name) }

// packaged is the version as deb and rpm write it: a tilde sorts before the release.
func (r release) packaged() string { return strings.Replace(r.Version, "-", "~", 1) }

func (r release) archive(platform string) string {
	return "keytail_" + r.Version + "_" + platform + ".tar.gz"
}

func (r release) sbom(platform string) string {
	return "keytail_" + r.Version + "_" + platform + ".cdx.json"
}

func (r release) deb() string { return "keytail_" + r.packaged() + "_amd64.deb" }

func (r release) rpm() string { return "keytail-" + r.packaged() + "-1.x86_64.rpm" }

// binary is the path of the binary for a platform such as linux_amd64.
func (r release) binary(t *testing.T, platform string) string {
	t.Helper()
	found, err := filepath.Glob(r.path("keytail_" + platform + "_*/keytail"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the binaries for %s are %q: %v", platform, found, err)
	}
	return found[0]
}

// platforms are all that a release has binaries for.
var platforms = []string{"darwin_amd64", "darwin_arm64", "linux_amd64", "linux_arm64"}

// program finds a program that .ci/run installs for these tests.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := testprogram.Find(testprogram.Program{Name: name, Places: []string{name}, Install: "apt-get install " + debian})
	testprogram.SkipIfMissing(t, feature, err)
	return path
}

// output runs a command, which must succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func sum(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// TestFilesAndChecksums: a release has these files and no others, and checksums.txt has
// the SHA-256 of each.
func TestFilesAndChecksums(t *testing.T) {
	t.Parallel()
	r := built(t)
	want := []string{
		r.deb(), strings.Replace(r.deb(), "amd64", "arm64", 1),
		r.rpm(), strings.Replace(r.rpm(), "x86_64", "aarch64", 1),
	}
	for _, platform := range platforms {
		want = append(want, r.archive(platform), r.sbom(platform))
	}
	checksums, err := os.Open(r.path("checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer checksums.Close()
	var got []string
	for lines := bufio.NewScanner(checksums); lines.Scan(); {
		checksum, name, _ := strings.Cut(lines.Text(), "  ")
		got = append(got, name)
		info, err := os.Stat(r.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if sum(t, r.path(name)) != checksum {
			t.Errorf("%s has another checksum than in checksums.txt", name)
		}
		t.Logf("%11d %s", info.Size(), name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the release (-want +got):\n%s", diff)
	}
}
