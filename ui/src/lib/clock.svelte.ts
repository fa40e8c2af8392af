// What time it is by the controller's clock, once a second, while somebody looks.
import { clockSkew } from '../api/client';

class Clock {
  /** Milliseconds since 1970. */
  now = $state(Date.now());

  constructor() {
    const beat = () => {
      if (!document.hidden) this.now = Date.now() + clockSkew();
    };
    setInterval(beat, 1000);
    document.addEventListener('visibilitychange', beat);
  }
}

export const clock = new Clock();
