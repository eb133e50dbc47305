//! Horizontal bars as SVG, several panels side by side: readable on light and dark pages.

/// The figures of one benchmark as a picture.
#[derive(Debug)]
pub(crate) struct Chart {
    name: String,
    title: String,
    panels: Vec<Panel>,
}

#[derive(Debug)]
struct Panel {
    title: String,
    bars: Vec<(String, f64)>,
}

const LABELS: usize = 250;
const PANEL: usize = 190;
const GAP: usize = 20;
const LINE: usize = 20;
const TOP: usize = 56;

impl Chart {
    /// A picture named `name`, without panels yet.
    pub(crate) fn new(name: &str, title: &str) -> Self {
        Self { name: name.to_owned(), title: title.to_owned(), panels: Vec::new() }
    }

    /// Adds a panel; all panels of a chart have the same labels in the same order.
    #[must_use]
    pub(crate) fn panel(mut self, title: &str, bars: Vec<(String, f64)>) -> Self {
        self.panels.push(Panel { title: title.to_owned(), bars });
        self
    }

    /// Where it lies, seen from the page.
    pub(crate) fn path(&self) -> String {
        format!("benchmarks/{}.svg", self.name)
    }

    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let rows = self.panels.first().map_or(0, |panel| panel.bars.len());
        let (width, height) = (LABELS + self.panels.len() * (PANEL + GAP), TOP + rows * LINE + GAP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title)
        );
        let labels = self.panels.iter().take(1).flat_map(|panel| &panel.bars);
        for (index, (label, _)) in labels.enumerate() {
            let (x, y) = (LABELS - 8, TOP + index * LINE + 13);
            svg += &format!(
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n",
                escaped(label)
            );
        }
        for (index, panel) in self.panels.iter().enumerate() {
            panel.draw(LABELS + index * (PANEL + GAP), &mut svg);
        }
        svg + "</svg>\n"
    }
}

impl Panel {
    fn draw(&self, left: usize, svg: &mut String) {
        let most = self.bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let title = escaped(&self.title);
        *svg += &format!("<text x=\"{left}\" y=\"44\" font-weight=\"bold\">{title}</text>\n");
        for (index, (label, value)) in self.bars.iter().enumerate() {
            let top = TOP + index * LINE;
            // The figure stands right of the bar and needs room.
            let length = value / most * (PANEL as f64 - 50.0);
            let color = if label.contains("rewarm") { "#d9480f" } else { "#868e96" };
            *svg += &format!(
                "<rect x=\"{left}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{color}\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>\n",
                top + 2,
                length.max(1.0),
                LINE - 5,
                left as f64 + length + 5.0,
                top + 13,
                figure(*value),
            );
        }
    }
}

/// Three digits are enough to compare by.
fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
