// Whether the page has the width of a phone.
const narrow = matchMedia('(max-width: 48rem)');

class Screen {
  narrow = $state(narrow.matches);

  constructor() {
    narrow.addEventListener('change', (event) => (this.narrow = event.matches));
  }
}

export const screen = new Screen();
