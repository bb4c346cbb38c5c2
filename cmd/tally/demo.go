// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/demo"
	"github.com/tallystick/tallystick/internal/problem"
)

// demoFlags are the flags of "tally demo".
type demoFlags struct {
	seed      uint64
	customers int
	fast      bool
	pause     bool
	json      bool
	out       string
}

func (p *program) demoCommand() *cobra.Command {
	flags := demoFlags{seed: 1, customers: 36_000}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play the theft of a vendor's certificate from end to end, with an emulator of Microsoft 365",
		Long: `Play the theft of a vendor's certificate from end to end, on this machine alone.

A vendor has 36,000 customers; 3,600 of them let its three products into their
Microsoft 365 tenant by one certificate. Somebody steals the key, and enters a few.
Tallystick reads what the vendor can read: the books of its own products, and the
sign-in logs of those customers who share them. It names who was entered, and has the
certificate replaced at all of them by a deadline, while the products go on.

Two weeks later it turns out that the thief was on hosts of the vendor as well, which
could read passwords that customers had entrusted to it. Tallystick names them, replaces
them at real servers of this machine (slapd, Samba, Dovecot and Postfix, those that are
installed), and proves that the old ones are dead.

The tenants are those of an EMULATOR, which is part of this command and of nothing else.
All else is real: the products sign in, and Tallystick is this program, started as
"tally up" in a directory of its own. On two processors it takes about five minutes, and
with --fast one and a half.

` + exitStatuses("0 all who were entered were named and nobody else, no legitimate use failed, the old key and the old passwords are dead everywhere, and the evidence is good",
			"1 something of that is not so, or could not be played", "2 bad usage"),
		Example: "  tally demo\n  tally demo --pause\n  tally demo --fast --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.demo(cmd.Context(), flags) },
	}
	cmd.Flags().Uint64Var(&flags.seed, "seed", flags.seed, "what is drawn by chance follows from this `NUMBER`")
	cmd.Flags().IntVar(&flags.customers, "customers", flags.customers, "how many customers the vendor has; one in ten is connected")
	cmd.Flags().BoolVar(&flags.fast, "fast", false, "a tenth of the customers, and in less time")
	cmd.Flags().BoolVar(&flags.pause, "pause", false, "stop after each part until Enter is pressed, to look around")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write what came of it as a JSON object; the story goes to standard error")
	cmd.Flags().StringVar(&flags.out, "out", "", "keep everything in this `DIR`, which must not be there yet (default a new one for temporary files; it stays until you remove it)")
	return cmd
}

// demo is the command.
func (p *program) demo(ctx context.Context, flags demoFlags) error {
	c := demo.Config{Seed: flags.seed, Customers: flags.customers, Pace: time.Minute, Deadline: enough(flags.customers)}
	if flags.fast {
		c.Customers, c.Pace, c.Deadline = flags.customers/10, 4*time.Second, 20*time.Second
	}
	if c.Customers < demo.FewestCustomers || c.Customers > demo.MostCustomers {
		return misuse(fmt.Errorf("--customers %d cannot be played", flags.customers),
			fmt.Sprintf("between %d and %d; with --fast ten times as many", demo.FewestCustomers, demo.MostCustomers))
	}
	var err error
	if c.Program, err = ownPath(); err != nil {
		return err
	}
	if c.Dir, err = demoDir(flags.out); err != nil {
		return err
	}
	story := &teller{out: p.out, progress: p.err}
	if flags.json {
		story.out = p.err
	}
	c.Story = story
	if flags.pause {
		c.Pause = p.waitForEnter
	}
	result, err := demo.Run(ctx, c)
	story.line("")
	if flags.json {
		encoder := json.NewEncoder(p.out)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(result))
	} else {
		story.sum(result, c.Dir)
	}
	if err == nil && !result.Well() {
		err = problem.With(fmt.Errorf("%w: the case did not come out as it should", tallystick.ErrUnavailable), "see what the log says: "+filepath.Join(c.Dir, "tallystick", "up.log"))
	}
	return err
}

// enough is the time that a recall takes on two processors, for one customer in ten is connected: only
// who is late by its own fault shall be late.
func enough(customers int) time.Duration {
	return 30*time.Second + time.Duration(customers/10)*33*time.Millisecond
}

// ownPath returns how this program was called: what is at /proc/self/exe may have
// another name, and programs that go by their name would be another one.
func ownPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		return filepath.Abs(path)
	}
	if path, err = os.Executable(); err != nil {
		return "", fmt.Errorf("couldn't find this program: %w", err)
	}
	return path, nil
}

// demoDir makes the directory in which all is kept.
func demoDir(path string) (string, error) {
	if path == "" {
		return os.MkdirTemp("", "tally-demo-")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", problem.With(fmt.Errorf("couldn't make %s: %w", path, err), "--out takes a directory that is not there yet")
	}
	return path, nil
}

// waitForEnter lets somebody look around.
func (p *program) waitForEnter(ctx context.Context, act string) error {
	fmt.Fprintf(p.err, "  -- %s: press Enter to go on --", act)
	read := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(p.in).ReadString('\n')
		read <- err
	}()
	select {
	case err := <-read:
		if errors.Is(err, io.EOF) {
			return nil // nobody is there to press it
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A teller tells the story.
type teller struct {
	out, progress io.Writer
	began         time.Time
	moving        bool // the last line is progress
}

var _ demo.Story = (*teller)(nil)

// Act is demo.Story.
func (t *teller) Act(title string) {
	if t.began.IsZero() {
		t.began = time.Now()
		t.line("Microsoft's cloud is an EMULATOR here; everything else is real.")
	}
	t.line(fmt.Sprintf("\n%s", title))
}

// Say is demo.Story.
func (t *teller) Say(format string, args ...any) {
	t.line(fmt.Sprintf("%6.1fs  %s", time.Since(t.began).Seconds(), clean(fmt.Sprintf(format, args...))))
}

// Did is demo.Story.
func (t *teller) Did(command string) {
	const most = 150
	if len(command) > most {
		command = command[:most] + " ..."
	}
	t.line(fmt.Sprintf("%6.1fs  $ %s", time.Since(t.began).Seconds(), clean(command)))
}

// Progress is demo.Story: a line that moves, on a terminal.
func (t *teller) Progress(what string, done, of int) {
	file, ok := t.progress.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return
	}
	fmt.Fprintf(t.progress, "\r\x1b[K         %s: %d of %d", what, done, of)
	t.moving = true
}

func (t *teller) line(text string) {
	if t.moving {
		fmt.Fprint(t.progress, "\r\x1b[K")
		t.moving = false
	}
	fmt.Fprintln(t.out, text)
}

// sum says what came of it.
func (t *teller) sum(r demo.Result, dir string) {
	t.line(fmt.Sprintf(`Entered and named     %d of %d tenants that share their logs, %d falsely; %d connections share none
Noticed after         %d ms from when the record could be read (the slowest name %d ms)
Connections           %d of %d proven in %.1f s; %d late, of them %d blocked at the deadline
Legitimate uses       %d, of which %d failed
The thief afterwards  %d refused, %d let in
Entrusted accounts    %s
Mail                  %s
Evidence              %s
Processor time        Tallystick %.1f s; the emulator with the products and the thief %.1f s
Everything is in      %s`,
		len(r.EnteredFound), len(r.EnteredTruth), len(r.FalseNames), r.Unknowable, r.DetectedAfter, r.SlowestAfter,
		r.Recall.Proven, r.Recall.Connections, r.Recall.Seconds, r.Recall.Late, r.Recall.BlockedAtDeadline,
		r.LegitimateUses, r.LegitimateFailures, r.ThiefRefusedAfterBlock, r.ThiefAcceptedAfterBlock,
		replaced(r.Entrusted), mailed(r.Mail), verified(r), r.ProductCPU, r.EmulatorCPU, dir))
}

func replaced(e demo.EntrustedResult) string {
	if len(e.Servers) == 0 {
		return "none: no server for them could be started"
	}
	return fmt.Sprintf("%d of %d that were readable named, %d falsely; %d with a new password, %d proven in %.1f s; %d copies let in",
		e.Reachable-e.FalseNames, e.Truth, e.FalseNames, e.Reset, e.Proven, e.Seconds, e.ThiefAccepted)
}

func mailed(r demo.MailResult) string {
	if !r.Flows {
		return "none: Postfix and Dovecot could not be started"
	}
	return fmt.Sprintf("%d messages through Postfix and Dovecot; %d lost, %d doubled", r.Sent, r.Lost, r.Doubled)
}

func verified(r demo.Result) string {
	switch {
	case r.Verified && r.Entrusted.Evidence != "":
		return r.Evidence + " and " + r.Entrusted.Evidence + ", verified"
	case r.Verified:
		return r.Evidence + ", verified"
	}
	return "none that is good"
}
