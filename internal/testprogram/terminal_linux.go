package testprogram

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// OpenTerminal opens a pseudo-terminal: what is written to screen is typed on
// terminal, and what a program prints to terminal can be read from screen. Closing
// screen hangs the terminal up. Where there is none it skips t, or fails it if
// RequireVariable lists "terminal".
func OpenTerminal(t testing.TB) (screen, terminal *os.File) {
	t.Helper()
	need := func(err error) {
		if err != nil {
			SkipIfMissing(t, "terminal", fmt.Errorf("%w: a pseudo-terminal: %w", ErrMissing, err))
		}
	}
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	need(err)
	t.Cleanup(func() { _ = screen.Close() })
	number, err := unlock(screen)
	need(err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	need(err)
	t.Cleanup(func() { _ = terminal.Close() })
	return screen, terminal
}

// unlock makes the other end usable, and returns its number. It does not use Fd,
// after which Close would not interrupt a Read.
func unlock(screen *os.File) (number int, err error) {
	conn, err := screen.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	return number, errors.Join(controlErr, err)
}
