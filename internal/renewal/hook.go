// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A Hook is a command that tells those who use a certificate that there is a new
// one, such as ["/usr/bin/systemctl", "reload", "nginx"]. It is run without a
// shell, after the files are in their place, again when it failed, and perhaps once
// more after a crash: to run it twice must do no harm. In its environment are PATH,
// TALLYSTICK_RENEWAL and TALLYSTICK_DIRECTORY, and nothing else.
type Hook struct {
	Command []string      `json:"command"`
	Timeout time.Duration `json:"timeout,omitempty"` // 0 is DefaultHookTimeout
}

// Bounds of how long a hook may take.
const (
	DefaultHookTimeout = time.Minute
	maxHookTimeout     = 30 * time.Minute
)

// maxHookOutput is how much of what a hook writes is kept, in bytes: its end.
const maxHookOutput = 2000

// check says what is wrong with a hook.
func (h Hook) check() error {
	if len(h.Command) == 0 || !filepath.IsAbs(h.Command[0]) {
		return problem.With(fmt.Errorf("%w: a hook is a program with its arguments, and no command of a shell", tallystick.ErrInvalid),
			"name the program by its whole path, such as /usr/bin/systemctl reload nginx")
	}
	if len(h.Command) > 100 || len(strings.Join(h.Command, " ")) > 4096 || strings.ContainsRune(strings.Join(h.Command, " "), 0) {
		return fmt.Errorf("%w: the hook is longer than 4096 bytes", tallystick.ErrInvalid)
	}
	if h.Timeout < 0 || h.Timeout > maxHookTimeout {
		return fmt.Errorf("%w: a hook may take between 0s and %s", tallystick.ErrInvalid, maxHookTimeout)
	}
	return nil
}

// tell runs the hook of a renewal.
func (j *job) tell(ctx context.Context) error {
	if j.renewal.Hook == "" { // it was taken away meanwhile
		return j.finish(ctx)
	}
	var h Hook
	if err := json.Unmarshal([]byte(j.renewal.Hook), &h); err != nil || h.check() != nil {
		return fmt.Errorf("couldn't read the hook: %w", tallystick.ErrDamaged)
	}
	if h.Timeout == 0 {
		h.Timeout = DefaultHookTimeout
	}
	env := []string{"TALLYSTICK_RENEWAL=" + j.renewal.Name, "TALLYSTICK_DIRECTORY=" + j.renewal.Directory}
	if err := h.run(ctx, env); err != nil {
		return err
	}
	return j.finish(ctx)
}

// run runs the command and all that it starts to its end, or to that of its time.
func (h Hook) run(ctx context.Context, env []string) error {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	var out tail
	cmd := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what has left the group and holds the output open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("the hook %s took longer than %s and was stopped%s", h.Command[0], h.Timeout, out.said())
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the hook %s failed: %w%s", h.Command[0], err, out.said())
	}
	return nil
}

// A tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	t.kept = append(t.kept, p[max(0, n-maxHookOutput):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxHookOutput):]
	return n, nil
}

// said returns it as the end of a sentence.
func (t *tail) said() string {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(t.kept)), "?")
	if text == "" {
		return ""
	}
	return ": " + text
}
