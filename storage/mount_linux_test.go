package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Tests of disks need disks of their own. They run in a process that has its own table of mounts, so that nothing of it is
// seen, or left behind, outside.

// ownMounts names the test that this program, started again, runs among mounts of its own.
const ownMounts = "SCIMBOX_OWN_MOUNTS"

// amongOwnMounts reports whether this process may mount. If not, it runs the test in one that may, and the caller is done.
// Somebody who is not root is root there for what the system lets anybody mount: tmpfs, and no devices.
func amongOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownMounts) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Skipf("cannot mount here: %v", err)
		}
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "60m")
	cmd.Env = append(os.Environ(), ownMounts+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &ended):
		t.Skipf("cannot mount here: %v", err)
	case err != nil:
		t.Errorf("among its own mounts: %v\n%s", err, &out)
	default:
		// What was left out there is left out here, where somebody looks.
		for _, skipped := range regexp.MustCompile(`--- SKIP: (\S+)`).FindAllStringSubmatch(out.String(), -1) {
			if skipped[1] == t.Name() {
				t.Skip(reasonOf(out.String()))
			}
			t.Run(strings.TrimPrefix(skipped[1], t.Name()+"/"), func(t *testing.T) { t.Skip(reasonOf(out.String())) })
		}
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "_test.go:") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
	return false
}

// reasonOf finds why a test was skipped in what it has printed.
func reasonOf(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "cannot ") {
			return strings.TrimSpace(line)
		}
	}
	return "skipped among its own mounts"
}

// mountMemory mounts a disk of so many bytes in memory.
func mountMemory(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// image is an ext4 file system in a file.
type image struct {
	file, dir string
}

func newImage(t *testing.T, size int64) *image {
	t.Helper()
	im := &image{filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	f, err := os.Create(im.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	if uid, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(uid), "4294967295") || os.Geteuid() != 0 {
		t.Skip("cannot mount an image: only root can")
	}
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("cannot make an image: there is no %s", tool)
		}
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", im.file).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	im.mount(t)
	t.Cleanup(func() { _ = unix.Unmount(im.dir, unix.MNT_DETACH) })
	return im
}

// mount mounts the image by a loop device that ends with it.
func (im *image) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop", im.file, im.dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount an image: %v: %s", err, bytes.TrimSpace(out))
	}
}

func (im *image) unmount(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(im.dir, 0); err != nil {
		t.Fatalf("unmounting: %v", err)
	}
}

const (
	ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	noLogFlush   = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH: not even the file system's own journal is written out
)

// powerOff is what a loss of power is to a file system: what was not made durable is gone.
func (im *image) powerOff() error {
	f, err := os.Open(im.dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noLogFlush), f.Close())
}
