// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick"
)

// A secrecy says what is asked of a file that holds a secret.
type secrecy struct {
	outside string      // the data directory: a backup of it must not hold the key to it; "" for any
	given   string      // $CREDENTIALS_DIRECTORY: systemd owns what is there, and lets the service's group read it
	closed  fs.FileMode // permissions that nobody may have; 0 is all of group and others
}

// readPrivate reads a file of at most limit bytes that holds a secret, which the
// caller clears. It is ErrInvalid when others could read or change it.
func readPrivate(path string, limit int, s secrecy) ([]byte, error) {
	if err := s.checkPlace(path); err != nil {
		return nil, err
	}
	// A symbolic link is not followed, and nobody waits at a pipe.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link: name the file itself", tallystick.ErrInvalid, path)
	}
	if err != nil {
		return nil, err // it names the path
	}
	defer file.Close() // nothing was written
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := s.checkFile(path, info); err != nil {
		return nil, err
	}
	text := make([]byte, limit+1)
	n, err := io.ReadFull(file, text)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		clear(text)
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	if n > limit || n == 0 {
		clear(text)
		return nil, fmt.Errorf("%w: %s has to hold 1 to %d bytes", tallystick.ErrInvalid, path, limit)
	}
	return text[:n:n], nil
}

// checkFile refuses what others could have read or changed.
func (s secrecy) checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a file", tallystick.ErrInvalid, path)
	}
	closed := s.closed
	if closed == 0 {
		closed = 0o077
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	ours := ok && int(stat.Uid) == os.Geteuid()
	if s.isGiven(path) {
		// With an access control list, what stands for the group is its mask
		// (systemd.exec(5), "LoadCredential").
		ours, closed = ours || ok && stat.Uid == 0, 0o027
	}
	if !ours {
		return fmt.Errorf("%w: %s belongs to another user: whoever runs this must own it", tallystick.ErrInvalid, path)
	}
	if info.Mode().Perm()&closed != 0 {
		return fmt.Errorf("%w: others can read or change %s: run chmod 400 %s", tallystick.ErrInvalid, path, path)
	}
	return nil
}

// isGiven says whether systemd laid the file there.
func (s secrecy) isGiven(path string) bool {
	return filepath.IsAbs(s.given) && filepath.Dir(filepath.Clean(path)) == filepath.Clean(s.given)
}

// checkPlace refuses a file inside the data directory.
func (s secrecy) checkPlace(path string) error {
	if s.outside == "" {
		return nil
	}
	inside, err := isInside(s.outside, path)
	if err == nil && inside {
		err = fmt.Errorf("%w: %s is inside the data directory: whoever takes a copy of that would have the key to it", tallystick.ErrInvalid, path)
	}
	return err
}

// isInside says whether a file is or would be inside a directory, whatever links
// lead to either.
func isInside(dir, path string) (bool, error) {
	dir, err := settled(dir)
	if err != nil {
		return false, err
	}
	path, err = settled(path)
	if err != nil {
		return false, err
	}
	rest, err := filepath.Rel(dir, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator)), err
}

// settled returns a path with all links of it resolved, as far as it is there.
func settled(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("couldn't find %s: %w", path, err)
	}
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			return "", fmt.Errorf("couldn't follow %s: %w", path, err)
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%w: %s has more than %d bytes", tallystick.ErrInvalid, path, limit)
	}
	return text, err
}
