// A form on its way to the server: whether it is under way, and what was said against it.

import { Refused } from "./api";

export class Sending {
  busy = $state(false);
  problem = $state.raw<Refused>();

  /** Does what the form is for, instead of what a browser would. A refusal is there to be shown until the next try. */
  async submit(event: SubmitEvent, act: () => Promise<void>): Promise<void> {
    event.preventDefault();
    this.busy = true;
    this.problem = undefined;
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.problem = error;
    } finally {
      this.busy = false;
    }
  }
}
