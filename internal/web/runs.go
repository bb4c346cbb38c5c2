// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

// runsPage answers: what did the last looks change, and what is looked at?
type runsPage struct {
	frame
	Jobs  []jobView
	Runs  []runView
	Live  bool
	Pager pager
}

// A jobView is a job with its newest run.
type jobView struct {
	discovery.Job
	Where string
	How   string // "every 24 hours", "when asked"
	Last  *runView
}

// Paused says that the job waits for somebody to let its run go on.
func (v jobView) Paused() bool { return v.Last != nil && v.Last.Paused }

// A runView is a run as pages show it.
type runView struct {
	store.Run
	Live     bool // it has not ended, and is not paused
	Paused   bool
	Word     string // "running", "done" ...
	Percent  int    // of a live one, 0 while the total is not known
	Progress string // "1,200 of 3,400 looked at, 17 sightings, 40 a second, 55 seconds left"
	Took     string
}

// Changed says what a run changed: "12 new, 3 gone".
func (v runView) Changed() string {
	switch {
	case v.Changes != nil:
		return discovery.Sentence(*v.Changes)
	case v.Run.Ended():
		return fmt.Sprintf("%s new, %s gone", number(v.Appeared), number(v.Vanished))
	}
	return ""
}

// viewRun returns a run as seen at now.
func viewRun(now time.Time, run store.Run) runView {
	v := runView{Run: run, Word: run.State, Paused: run.State == store.RunPaused, Live: run.State == store.RunWaiting || run.State == store.RunRunning}
	if run.State == store.RunWaiting {
		v.Progress = "waiting for its turn"
		return v
	}
	if !run.Ended() {
		v.Percent, v.Progress = progressOf(now, run)
	}
	if end := run.Finished; !run.Started.IsZero() {
		if end.IsZero() {
			end = now
		}
		v.Took = took(end.Sub(run.Started))
	}
	return v
}

// progressOf says how far a run has come, in percent where that is known and in words.
func progressOf(now time.Time, run store.Run) (percent int, words string) {
	words = number(run.Done)
	if run.Total > 0 {
		percent = int(min(run.Done, run.Total) * 100 / run.Total)
		words += " of " + number(run.Total)
	}
	words += " looked at, " + plural(run.Sightings, "sighting", "sightings")
	switch {
	case run.Rate >= 10:
		words += fmt.Sprintf(", %.0f a second", run.Rate)
	case run.Rate > 0:
		words += fmt.Sprintf(", %.1f a second", run.Rate)
	}
	if left := run.Expected.Sub(now); left > 0 {
		words += ", " + span(left) + " left"
	}
	return percent, words
}

// took writes how long something lasted.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return "under a second"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return span(d)
}

// Runs is the jobs and the newest runs.
func (s *Site) Runs(w http.ResponseWriter, r *http.Request) {
	before, err := numberOf(r.URL.Query().Get("before"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	runs, err := s.Discovery.Runs(r.Context(), actorOf(r), "", before, pageRows+1)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &runsPage{frame: frame{Title: "Runs", Section: "runs"}}
	var next string
	if len(runs) > pageRows {
		runs = runs[:pageRows]
		next = fmt.Sprint(runs[pageRows-1].ID)
	}
	for _, run := range runs {
		v := viewRun(s.Now(), run)
		p.Runs, p.Live = append(p.Runs, v), p.Live || v.Live
	}
	p.Pager = pagerOf(r, "before", 0, next)
	if before == 0 {
		p.Jobs = jobViews(s.Discovery.Jobs(), p.Runs)
	}
	s.render(w, r, http.StatusOK, "runs", p)
}

// jobViews puts to each job the newest of its runs among those that are listed.
func jobViews(jobs []discovery.Job, runs []runView) []jobView {
	var views []jobView
	for _, job := range jobs {
		v := jobView{Job: job, Where: whereOf(job.Targets), How: "when asked"}
		if job.Every > 0 {
			v.How = "every " + span(job.Every)
		}
		for i := range runs {
			if runs[i].Source == job.Name {
				v.Last = &runs[i]
				break
			}
		}
		views = append(views, v)
	}
	return views
}

// StartRun asks for a look now.
func (s *Site) StartRun(w http.ResponseWriter, r *http.Request) {
	run, err := s.Discovery.Start(r.Context(), actorOf(r), r.PostFormValue("job"))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, fmt.Sprintf("/runs/%d", run.ID), "started")
}
