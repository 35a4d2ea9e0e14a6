// What lies under a cutout: for the page as a style, for the loupe as paint.

const SQUARE = 12; // pixels of the checkerboard

export const GROUNDS = [
  { id: "checker", label: "Checkerboard" },
  { id: "white", label: "White", colour: "#ffffff" },
  { id: "black", label: "Black", colour: "#000000" },
  { id: "green", label: "Green", colour: "#00b140" },
  { id: "colour", label: "Any colour" },
  { id: "picture", label: "A picture" },
];

export class Ground {
  id = "checker";
  colour = "#7a5cff"; // of "colour"
  picture = null; // HTMLImageElement of "picture"

  plain() {
    return this.id === "colour" ? this.colour : GROUNDS.find((ground) => ground.id === this.id).colour;
  }

  lay(element) {
    element.dataset.ground = this.id;
    element.style.backgroundColor = this.plain() ?? "";
    element.style.backgroundImage = this.id === "picture" && this.picture ? `url("${this.picture.src}")` : "";
  }

  // The part of the ground that a loupe sees. size: of the canvas. part: of the stage, as shares of it.
  paint(context, size, part, stage) {
    if (this.id === "picture" && this.picture) {
      const { naturalWidth: width, naturalHeight: height } = this.picture;
      const scale = Math.max(stage.width / width, stage.height / height); // background-size: cover
      const left = (width - stage.width / scale) / 2;
      const top = (height - stage.height / scale) / 2;
      context.imageSmoothingEnabled = true;
      context.drawImage(
        this.picture,
        left + (part.x * stage.width) / scale,
        top + (part.y * stage.height) / scale,
        (part.width * stage.width) / scale,
        (part.height * stage.height) / scale,
        0, 0, size, size,
      );
      return;
    }
    context.fillStyle = this.plain() ?? "#ffffff";
    context.fillRect(0, 0, size, size);
    if (this.id !== "checker" && this.id !== "picture") return;
    context.fillStyle = "#cccccc";
    for (let y = 0; y < size; y += SQUARE) {
      for (let x = y % (2 * SQUARE); x < size; x += 2 * SQUARE) context.fillRect(x, y, SQUARE, SQUARE);
    }
  }
}
